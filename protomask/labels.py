"""Labels: one class per image, or any number of findings per image, and what differs between the two.

- one class: labels (B,) long; probabilities by softmax, the greatest wins;
- findings (multi-label): labels (B, C), 1 where an image has the finding and 0 elsewhere; a sigmoid per finding,
  present above 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.errors import InputError


def is_multi_label(labels: Tensor) -> bool:
    """Tell whether ``labels`` are findings (B, C) and not classes (B,)."""
    return labels.ndim == 2


def positives(labels: Tensor, count: int) -> Tensor:
    """Tell which of ``count`` classes or findings each image has, (B, count) bool.

    >>> positives(torch.tensor([2, 0]), 3).int().tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    return labels > 0.5 if is_multi_label(labels) else F.one_hot(labels, count).bool()


def has_class(labels: Tensor, classes: Tensor) -> Tensor:
    """Tell whether image b has class ``classes[p]``, (B, P) bool; for prototypes, which are the image's own.

    >>> has_class(torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([0, 0, 1, 2])).int().tolist()
    [[1, 1, 0, 1]]
    """
    return labels[:, classes] > 0.5 if is_multi_label(labels) else classes[None, :] == labels[:, None]


def balancing_weights(labels: Tensor) -> Tensor:
    """Compute how often each image (N,) must be drawn so that classes are drawn equally often; in (0, 1].

    With several findings per image having none counts as a class, and an image is drawn for the rarest one that it has
    (so frequent findings that come with rare ones are drawn somewhat more often).
    """
    count = labels.shape[1] if is_multi_label(labels) else int(labels.max()) + 1
    own = positives(labels, count)
    if is_multi_label(labels):
        own = torch.cat([own, ~own.any(1, keepdim=True)], dim=1)
    return (own / own.sum(0).clamp_min(1)).amax(1)


def probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Turn logits into probabilities (B, C): softmax over classes, or a sigmoid per finding.

    NaN where a logit is no number or has overflown to infinity; minus infinity means never.

    >>> probabilities(torch.tensor([[0.0, torch.inf, -torch.inf]]), multi_label=True)
    tensor([[0.5000,    nan, 0.0000]])
    """
    found = logits.sigmoid() if multi_label else logits.softmax(1)
    return torch.where(logits < torch.inf, found, torch.nan)


def log_odds(logits: Tensor, multi_label: bool) -> Tensor:
    """Turn logits into log-odds (B, C), which rank images as their probabilities do, also where these round to 1.

    Of classes the logit above the logarithm of the others' sum, of findings the logit itself. NaN where the
    probability is.

    >>> log_odds(torch.tensor([[60.0, 0.0], [50.0, 0.0]]), multi_label=False).tolist()
    [[60.0, -60.0], [50.0, -50.0]]
    """
    if multi_label:
        found = logits
    else:
        logarithms, (top, first) = logits.log_softmax(1), logits.max(1, keepdim=True)
        found = logarithms - torch.log1p(-logarithms.exp())
        # Of the most probable class alone 1 - p may round to 0.
        others = logits.scatter(1, first, -torch.inf).logsumexp(1, keepdim=True)
        found = found.scatter(1, first, top - others)
    return torch.where((logits < torch.inf) & ~found.isnan(), found, torch.nan)


def require_numbers(logits: Tensor, names: Sequence[str]) -> Tensor:
    """Return logits (B, C); an answer that is no number is an error, never a class.

    Raises:
        InputError: names the first image whose logits hold NaN or have overflown.
    """
    wrong = (~(logits < torch.inf)).any(1).nonzero().flatten()
    if len(wrong):
        raise InputError(
            f"{names[int(wrong[0])]}: the network answers NaN or infinity; its weights or the picture overflow"
        )
    return logits


def most_likely(scores: Tensor, most: int) -> Tensor:
    """List the numbers of the classes of each row of scores (..., C), best first, at most so many: (..., K).

    Of equal scores the first class comes first, as ``argmax`` has it, by which answers are counted; ``topk`` leaves
    their order open.

    >>> most_likely(torch.tensor([1.0, 2.0, 2.0]), 2).tolist()
    [1, 2]
    """
    return scores.argsort(dim=-1, descending=True, stable=True)[..., :most]


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Score answers, (B,) in [0, 1]: whether the class is right, or the share of the findings whose presence is."""
    if is_multi_label(labels):
        return ((logits > 0) == (labels > 0.5)).double().mean(1)
    return (logits.argmax(1) == labels).double()
