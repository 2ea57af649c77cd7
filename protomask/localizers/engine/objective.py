"""The losses of learned masks: what keeping and destroying a score cost, as shares of its range."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.capabilities import score_kind
from protomask.errors import NothingToKeepWarning
from protomask.explainable import Explainable
from protomask.localizers.engine.learning import MaskState
from protomask.localizers.engine.masks import BACKGROUNDS, background
from protomask.warned import about_maps, name_of_map

ALTERNATING = "alternating"
OBJECTIVE_BACKGROUNDS = (*BACKGROUNDS, ALTERNATING)
CONSISTENCY = ("signed", "one-sided", "absolute", "squared")
ROUNDING = 1e-4
"""share of the range below which a loss has no gradient, where that would jump at zero: masks start at losses of
exactly zero but for rounding, which else would decide about the first step"""


def begin_objective(explained: Explainable, state: MaskState, kind: str, seed: int = 0) -> None:
    """Fill ``state.buffers`` with what the losses need.

    That is ``background``; ``empty`` (B,), the score of the background alone; ``range`` (B,), :func:`score_range`; and
    ``blurred``, the second background, where they alternate.

    Args:
        kind, seed: see :func:`protomask.localizers.engine.masks.background`; or ``"alternating"``: zero in the first
            step, blur in the second, and so on, so that a mask does not depend on one background. R is that of zero.
    """
    hidden = background(state.images, state.index, "zero" if kind == ALTERNATING else kind, seed=seed)
    empty = explained.score(hidden.expand_as(state.images).contiguous(), state.index).detach().nan_to_num(0.0, 0.0, 0.0)
    state.buffers["background"], state.buffers["empty"] = hidden, empty
    state.buffers["range"] = score_range(state.score, empty)
    if kind == ALTERNATING:
        state.buffers["blurred"] = background(state.images, state.index, "blur")


def warn_of_nothing_to_keep(state: MaskState) -> None:
    """Warn (:class:`protomask.errors.NothingToKeepWarning`) where no score is lost with the whole image.

    The map then shows what speaks least against the score, not what speaks for it.
    """
    without = (state.score <= state.buffers["empty"]).nonzero()[:, 0]
    if len(without):
        places = ", ".join(
            name_of_map(
                int(state.position[row]),
                int(state.index[row]),
                f"{state.score[row].item():.3g}, empty {state.buffers['empty'][row].item():.3g}",
            )
            for row in without.tolist()
        )
        about_maps(
            NothingToKeepWarning,
            f"the score is no higher than that of an empty image, so there is no evidence to show, in {places}",
            stacklevel=2,
        )


def score_range(whole: Tensor, empty: Tensor) -> Tensor:
    """Compute the range of scores, R = s(x) - s(r), (B,), from s(x) and s(r).

    At least 1 % of |s(x)|, so that the losses stay finite where the background alone scores as high as the image.
    """
    return (whole - empty).maximum(0.01 * whole.abs()).clamp_min(1e-6)


def masked_images(state: MaskState, mask: Tensor, blurred: str = "blurred") -> Tensor:
    """Show images through masks: x*m + r*(1-m), (B, 3, H, W), with this step's background r.

    Args:
        state: the pairs; odd steps have the second background where there is one.
        mask: (B, 1, H, W).
        blurred: name of the second background in ``state.buffers``.
    """
    hidden = state.buffers["background"].expand_as(state.images)
    if blurred in state.buffers:
        hidden = select_rows(state.step % 2 == 1, state.buffers[blurred], hidden)
    return torch.lerp(hidden, state.images, mask)


def select_rows(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Take the rows of ``one`` (B, ...) where ``chosen`` (B,), on the CPU, is true, else those of ``other``."""
    # Pairs that entered the loop together are at the same step: nearly always it is one of them whole.
    if chosen.all():
        return one
    return other if not chosen.any() else torch.where(chosen.to(one.device).view(-1, *[1] * (one.ndim - 1)), one, other)


def keep_loss(state: MaskState, scores: Tensor, consistency: str) -> Tensor:
    """Compute the loss (B,) of masks that are to keep the score, from ``scores`` of x*m + r*(1-m).

    A function of the drop d, :func:`score_drop`: ``"signed"``: d itself, so that a score above the image's is a gain;
    ``"one-sided"``: max(0, d); ``"absolute"`` and ``"squared"``: |d| and d^2.
    """
    drop = score_drop(state, scores)
    return {
        "signed": lambda: drop,
        "one-sided": lambda: _ignore_rounding(drop.relu()),
        "absolute": lambda: _ignore_rounding(drop.abs()),
        "squared": drop.square,
    }[consistency]()


def destroy_loss(state: MaskState, scores: Tensor, consistency: str) -> Tensor:
    """Compute the loss (B,) of masks that are to destroy the score, from ``scores`` of x*(1-m) + r*m.

    ``"signed"``: (scores - s(r)) / R; any other consistency: :func:`remaining_score`.
    """
    return (
        (scores - state.buffers["empty"]) / state.buffers["range"]
        if consistency == "signed"
        else remaining_score(state, scores)
    )


def score_drop(state: MaskState, scores: Tensor) -> Tensor:
    """Compute the share of its range that the score has lost, (s(x) - scores) / R, (B,); negative where it has
    risen."""
    return (state.score - scores) / state.buffers["range"]


def remaining_score(state: MaskState, scores: Tensor) -> Tensor:
    """Compute the share of its range that the score still has, max(0, scores - s(r)) / R, (B,)."""
    return _ignore_rounding((scores - state.buffers["empty"]).relu() / state.buffers["range"])


def _ignore_rounding(loss: Tensor) -> Tensor:
    return torch.where(loss > ROUNDING, loss, 0.0)


def geometric_schedule(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """Grow geometrically from ``first`` at step 0 to ``last`` at step ``steps`` - 1: (B,), on the CPU as ``step``
    is."""
    return first * (last / first) ** (step.float() / max(steps - 1, 1))


def accumulate_average(state: MaskState, values: dict[str, Tensor], steps: int, settle: float) -> None:
    """Average ``values`` over the later steps, into ``state.buffers`` under the same names; to be called after each
    step.

    Args:
        state: the pairs; ``state.step`` counts from 1 here.
        values: name to (B, ...).
        steps: of the whole optimisation.
        settle: share of the steps before the average begins; the last step always counts.
    """
    first = min(int(settle * steps) + 1, steps)
    share = torch.where(state.step >= first, 1 / (state.step - first + 1).clamp_min(1), 0.0)
    for name, value in values.items() if share.any() else ():
        there = share.to(value, non_blocking=True).view(-1, *[1] * (value.ndim - 1))
        state.buffers[name] = torch.lerp(state.buffers[name], value, there)


def probability(explained: Explainable, scores: Tensor) -> Tensor | None:
    """Turn ``scores`` (B,) into probabilities where ``explained`` says that they are (log-)probabilities; else None."""
    kind = score_kind(explained)
    if kind == "log-probability":
        return scores.exp()
    return scores if kind == "probability" else None
