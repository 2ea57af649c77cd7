"""Masks as the mean of upsampled vectors of several sizes: what MDM learns, and what each module of HDM begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.explainable import Explainable
from protomask.localizers.engine.learning import MaskState
from protomask.localizers.engine.masks import grid_shape, upsample
from protomask.localizers.engine.objective import (
    accumulate_average,
    begin_objective,
    destroy_loss,
    geometric_schedule,
    keep_loss,
    masked_images,
    warn_of_nothing_to_keep,
)


class StackedVectors:
    """Learn the mean of several upsampled vectors in [0, 1]; the result is its average over the later steps."""

    sizes: tuple[int, ...]
    """cells along the image's shorter side, one vector each"""
    steps: int
    settle: float
    """share of the steps before the mean begins; 1: the last mask alone"""

    def start(self, state: MaskState, mask: Tensor) -> None:
        """Begin with ``mask`` (B, 1, H, W)."""
        state.learned.update(mask_vectors(mask, self.sizes))
        state.buffers.update({name: torch.zeros_like(vector) for name, vector in state.learned.items()})

    def mask(self, state: MaskState) -> Tensor:
        return mean_of_vectors(state.learned, state.image_size)

    def after_step(self, state: MaskState) -> None:
        for vector in state.learned.values():
            vector.clamp_(0, 1)
        accumulate_average(state, state.learned, self.steps, self.settle)

    def result(self, state: MaskState) -> Tensor:
        return mean_of_vectors({name: state.buffers[name] for name in state.learned}, state.image_size)[:, 0]


@dataclass(frozen=True)
class StackProblem(StackedVectors):
    """Learn a mask M, the mean of upsampled vectors, that keeps (or destroys) the score at the least size.

    Minimises the consistency + lambda mean(M). Lambda grows geometrically over the steps, and the result is the mean of
    M over the later ones: what outlives a high price counts more. See
    :class:`protomask.localizers.engine.learning.MaskProblem`.
    """

    explained: Explainable
    sizes: tuple[int, ...]
    weights: tuple[float, float]
    """lambda at the first and the last step"""
    steps: int
    settle: float
    consistency: str
    """see :func:`protomask.localizers.engine.objective.keep_loss`"""
    background: str
    """see :func:`protomask.localizers.engine.objective.begin_objective`"""
    seed: int = 0
    destroy: bool = False
    """M hides the image instead of showing it, and is to destroy the score"""
    warn: bool = False
    """say where there is nothing to keep"""
    rough: Tensor | None = None
    """(N, H, W), masks to begin with, one for every pair of the call; by default all is shown"""

    def begin(self, state: MaskState) -> None:
        begin_objective(self.explained, state, self.background, self.seed)
        if self.warn:
            warn_of_nothing_to_keep(state)
        if self.rough is None:
            self.start(state, state.images.new_ones(len(state), 1, *state.image_size))
        else:
            self.start(state, self.rough[state.position][:, None])

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        return (masked_images(state, 1 - mask if self.destroy else mask),)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        cost = (destroy_loss if self.destroy else keep_loss)(state, scores[0], self.consistency)
        size = sum(vector.mean((1, 2, 3)) for vector in state.learned.values()) / len(self.sizes)
        return cost + geometric_schedule(*self.weights, state.step, self.steps).to(cost, non_blocking=True) * size


def mask_vectors(mask: Tensor, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """Reduce a mask (B, 1, H, W) to a vector of each size: means over its cells."""
    return {
        f"vector{number}": F.adaptive_avg_pool2d(mask, grid_shape(size, tuple(mask.shape[-2:])))
        for number, size in enumerate(sizes)
    }


def mean_of_vectors(vectors: dict[str, Tensor], image_size: Sequence[int]) -> Tensor:
    """Average the upsampled vectors: (B, 1, H, W)."""
    return reduce(torch.add, (upsample(vector, image_size) for vector in vectors.values())) / len(vectors)


@dataclass(frozen=True)
class GuidedProblem(StackProblem):
    """Learn finer vectors beside a mask that stays as it is: M is the mean of ``guide`` and of the vectors' mask."""

    guide: Tensor | None = None
    """(N, H, W), one mask for every pair of the call; also what the vectors start as"""

    def begin(self, state: MaskState) -> None:
        begin_objective(self.explained, state, self.background, self.seed)
        assert self.guide is not None  # a problem without a guide is a StackProblem
        state.buffers["guide"] = self.guide[state.position][:, None]
        self.start(state, state.buffers["guide"])

    def mask(self, state: MaskState) -> Tensor:
        return (state.buffers["guide"] + super().mask(state)) / 2

    def result(self, state: MaskState) -> Tensor:
        return (state.buffers["guide"][:, 0] + super().result(state)) / 2
