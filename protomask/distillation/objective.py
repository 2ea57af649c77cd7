"""What the explainer's maps are to achieve: the teacher's own objective, through the explained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.engine.learning import MaskState, scores_of_views
from protomask.localizers.engine.objective import ALTERNATING, begin_objective, keep_loss, masked_images, score_drop
from protomask.localizers.engine.order import OrderProblem
from protomask.localizers.mdm import MDM
from protomask.localizers.settings import require_value

SPREAD = 4.0
"""standard deviations of the order map that count as the whole range from 0 to 1, in which cuts are soft"""
MOST = 10.0
"""losses beyond it, of single pairs whose score hardly depends on the image, count no more"""


class Terms(NamedTuple):
    """Hold the losses of B pairs, and what they came from."""

    keep: Tensor
    """(B,) what showing the image through the mask costs, without its size"""
    size: Tensor
    """(B,) mean of the mask"""
    order: Tensor
    """(B,) what keeping and destroying at some share of the pixels cost"""
    weight: Tensor
    """(B,) in [0, 1]: less where the score has little to lose, 0 where it has nothing"""
    drop: Tensor
    """(B,) share of its range that the score loses; detached"""


@dataclass(frozen=True)
class Objective:
    """Keep, destroy and size of a teacher (complete settings of MDM) for maps that a network draws.

    For a mask M and an order O drawn for an image x: keeping is the teacher's consistency of x M + r (1 - M); ordering
    is its :class:`protomask.localizers.engine.order.OrderProblem` at one of its areas, drawn anew for every pair and
    step: the first pixels keep the score, and without them it is destroyed. O is taken without its mean, because a cut
    at a share of the pixels does not depend on it. Unlike the teacher's, the views are not varied by shifts and noise:
    many images do what these are for.
    """

    explained: Explainable
    teacher: MDM
    reference: float
    """range of a usual score: pairs of less count less"""

    def terms(self, images: Tensor, index: Tensor, drawn: Tensor, cuts: Tensor) -> Terms:
        """Compute the losses, differentiable in ``drawn``.

        Args:
            images, index: (B, 3, H, W) and (B,).
            drawn: (B, 2, H, W), logits of the mask and the order.
            cuts: (B,) long, on the CPU: which area and which background each pair gets.
        """
        state, problem = self._begin(images, index, cuts)
        mask, order = _mask(drawn), _order(drawn)
        views = (*problem.views(state, order), masked_images(state, mask))
        scores = scores_of_views(self.explained, index, len(images), *views)
        weight = (state.buffers["range"] / self.reference).clamp(max=1) * (state.score > state.buffers["empty"])
        return Terms(
            keep_loss(state, scores[2], require_value(self.teacher.keep.consistency)).clamp(-MOST, MOST),
            mask.mean((1, 2, 3)),
            problem.loss(state, order, scores).clamp(-MOST, MOST),
            weight,
            score_drop(state, scores[2]).detach(),
        )

    def _begin(self, images: Tensor, index: Tensor, cuts: Tensor) -> tuple[MaskState, OrderProblem]:
        order, background = self.teacher.order, require_value(self.teacher.background)
        problem = OrderProblem(
            self.explained, images[:, 0], (1,), 1, order.areas, order.softness, background=background
        )
        with torch.no_grad():
            score = self.explained.score(images, index).float()
            state = MaskState(images, index, score, torch.arange(len(index), device=index.device), cuts)
            problem.begin(state)
        return state, problem


def begin_ranges(explained: Explainable, images: Tensor, index: Tensor, background: str) -> MaskState:
    """Score whole images and backgrounds; ``buffers["range"]`` is there then."""
    with torch.no_grad():
        score = explained.score(images, index).float()
        state = MaskState(images, index, score, torch.arange(len(index)), torch.zeros(len(index), dtype=torch.long))
        begin_objective(explained, state, "zero" if background == ALTERNATING else background)
    return state


def _mask(drawn: Tensor) -> Tensor:
    mask = drawn[:, :1].sigmoid()
    return mask / mask.detach().amax((2, 3), keepdim=True).clamp_min(1e-6)


def _order(drawn: Tensor) -> Tensor:
    order = drawn[:, 1:]
    spread = order.detach().std((2, 3), keepdim=True).clamp_min(1e-3)
    return (order - order.mean((2, 3), keepdim=True)) / (SPREAD * spread)
