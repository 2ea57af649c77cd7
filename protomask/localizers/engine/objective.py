"""What learned masks share: the range of a score, and the two consistencies that are measured in it."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.engine.learning import Pairs
from protomask.localizers.engine.masks import BACKGROUNDS, background

ALTERNATING = "alternating"
OBJECTIVE_BACKGROUNDS = (*BACKGROUNDS, ALTERNATING)
CONSISTENCY = ("signed", "one-sided", "absolute", "squared")
ROUNDING = 1e-4
"""share of the range below which a loss has no gradient, where that would jump at zero: masks start at losses of
exactly zero but for rounding, which else would decide about the first step"""


def begin_objective(explained: Explainable, pairs: Pairs, kind: str, seed: int = 0) -> None:
    """Fill ``pairs.fixed``: ``background``, ``empty`` (B,), the score of the background alone, and ``range`` (B,).

    The range is :func:`score_range`.

    Args:
        kind, seed: see :func:`protomask.localizers.engine.masks.background`; or ``"alternating"``: zero in the first step,
            blur in the second, and so on, so that a mask owes nothing to one background. R is that of zero.
    """
    hidden = background(pairs.images, pairs.index, "zero" if kind == ALTERNATING else kind, seed=seed)
    empty = explained.score(hidden.expand_as(pairs.images).contiguous(), pairs.index).detach().nan_to_num(0.0, 0.0, 0.0)
    pairs.fixed["background"], pairs.fixed["empty"] = hidden, empty
    pairs.fixed["range"] = score_range(pairs.score, empty)
    if kind == ALTERNATING:
        pairs.fixed["blurred"] = background(pairs.images, pairs.index, "blur")


def score_range(whole: Tensor, empty: Tensor) -> Tensor:
    """(B,) R = s(x) - s(r), what there is to lose, from s(x) and s(r).

    A score that the empty image reaches as well has none; 1 % of the score's size keeps the terms finite then.
    """
    return (whole - empty).maximum(0.01 * whole.abs()).clamp_min(1e-6)


def shown(pairs: Pairs, mask: Tensor, blurred: str = "blurred") -> Tensor:
    """x*m + r*(1-m), (B, 3, H, W); r is this step's background, m (B, 1, H, W), ``blurred`` the name of the second of
    two."""
    hidden = pairs.fixed["background"].expand_as(pairs.images)
    if blurred in pairs.fixed:
        hidden = either(pairs.step % 2 == 1, pairs.fixed[blurred], hidden)
    return torch.lerp(hidden, pairs.images, mask)


def either(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` (B, ...) where ``chosen`` (B,), on the CPU, is true, else ``other``: nearly always one of them whole.

    Pairs that entered the loop together are at the same step.
    """
    if chosen.all():
        return one
    return other if not chosen.any() else torch.where(chosen.to(one.device).view(-1, *[1] * (one.ndim - 1)), one, other)


def kept(pairs: Pairs, scores: Tensor, consistency: str) -> Tensor:
    """(B,) what keeping costs, from the scores of x*m + r*(1-m): a function of :func:`fall`.

    ``"signed"``: the fall itself, so that a score above the image's is a gain; ``"one-sided"``: max(0, fall);
    ``"absolute"`` and ``"squared"``: |fall| and fall^2.
    """
    lost = fall(pairs, scores)
    return {
        "signed": lambda: lost,
        "one-sided": lambda: _beyond_rounding(lost.relu()),
        "absolute": lambda: _beyond_rounding(lost.abs()),
        "squared": lost.square,
    }[consistency]()


def destroyed(pairs: Pairs, scores: Tensor, consistency: str) -> Tensor:
    """(B,) what destroying costs, from the scores of x*(1-m) + r*m: their share of the range, signed or at least
    zero."""
    return (
        (scores - pairs.fixed["empty"]) / pairs.fixed["range"] if consistency == "signed" else remainder(pairs, scores)
    )


def fall(pairs: Pairs, scores: Tensor) -> Tensor:
    """(B,) how much of its range the score has lost: (s(x) - scores) / R; negative where it has risen."""
    return (pairs.score - scores) / pairs.fixed["range"]


def remainder(pairs: Pairs, scores: Tensor) -> Tensor:
    """(B,) how much of its range the score still has: max(0, scores - s(r)) / R."""
    return _beyond_rounding((scores - pairs.fixed["empty"]).relu() / pairs.fixed["range"])


def _beyond_rounding(loss: Tensor) -> Tensor:
    return torch.where(loss > ROUNDING, loss, 0.0)


def growing(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """(B,), on the CPU as ``step`` is: geometric from ``first`` at step 0 to ``last`` at step ``steps`` - 1."""
    return first * (last / first) ** (step / max(steps - 1, 1))


def settled(pairs: Pairs, values: dict[str, Tensor], steps: int, settle: float) -> None:
    """Called after each step: makes ``pairs.fixed[name]`` the mean of ``values[name]`` over the steps after a share
    ``settle``.

    The last step always counts. ``pairs.step`` counts from 1 here.
    """
    first = min(int(settle * steps) + 1, steps)
    share = torch.where(pairs.step >= first, 1 / (pairs.step - first + 1).clamp_min(1), 0.0)
    for name, value in values.items() if share.any() else ():
        there = share.to(value, non_blocking=True).view(-1, *[1] * (value.ndim - 1))
        pairs.fixed[name] = torch.lerp(pairs.fixed[name], value, there)


def probability(explained: Explainable, scores: Tensor) -> Tensor | None:
    """``scores`` (B,) as probabilities where ``explained`` says that they are some (a Classifier does); None
    otherwise."""
    kind = getattr(explained, "kind", None)
    if kind == "log-probability":
        return scores.exp()
    return scores if kind == "probability" else None
