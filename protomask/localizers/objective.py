"""What learned masks share: the range of a score, and the two consistencies that are measured in it."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.learning import Pairs
from protomask.localizers.masks import background


def begin_objective(explained: Explainable, pairs: Pairs, kind: str, seed: int = 0) -> None:
    """Fill ``pairs.fixed``: ``background``, ``empty`` (B,), the score of the background alone, and ``range`` (B,).

    The range R = s(x) - s(r) is what there is to lose. A score that the empty image reaches as well has none; 1 % of the
    score's size keeps the terms finite then.

    Args:
        kind, seed: see :func:`protomask.localizers.masks.background`.
    """
    hidden = background(pairs.images, pairs.index, kind, seed=seed)
    empty = explained.score(hidden.expand_as(pairs.images).contiguous(), pairs.index).detach().nan_to_num(0.0, 0.0, 0.0)
    pairs.fixed["background"], pairs.fixed["empty"] = hidden, empty
    pairs.fixed["range"] = (pairs.score - empty).maximum(0.01 * pairs.score.abs()).clamp_min(1e-6)


def shown(pairs: Pairs, mask: Tensor) -> Tensor:
    """x*m + r*(1-m), (B, 3, H, W); r is the background, m (B, 1, H, W)."""
    return torch.lerp(pairs.fixed["background"].expand_as(pairs.images), pairs.images, mask)


def fall(pairs: Pairs, scores: Tensor) -> Tensor:
    """(B,) how much of its range the score has lost: (s(x) - scores) / R; negative where it has risen."""
    return (pairs.score - scores) / pairs.fixed["range"]


def remainder(pairs: Pairs, scores: Tensor) -> Tensor:
    """(B,) how much of its range the score still has: max(0, scores - s(r)) / R."""
    return (scores - pairs.fixed["empty"]).relu() / pairs.fixed["range"]


def probability(explained: Explainable, scores: Tensor) -> Tensor | None:
    """``scores`` (B,) as probabilities where ``explained`` says that they are some (a Classifier does); None otherwise."""
    kind = getattr(explained, "kind", None)
    if kind == "log-probability":
        return scores.exp()
    return scores if kind == "probability" else None
