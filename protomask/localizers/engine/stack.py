"""A stack of mask vectors of several sizes, learned together: what MDM consists of, and each module of HDM begins
with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.explainable import Explainable
from protomask.localizers.engine.learning import Pairs
from protomask.localizers.engine.masks import grid_shape, upsample
from protomask.localizers.engine.objective import begin_objective, destroyed, growing, kept, settled, shown


class Superimposed:
    """What is learned is the mean of several upsampled vectors in [0, 1]; the result is its mean over the later
    steps."""

    sizes: tuple[int, ...]
    """cells along the image's shorter side, one vector each"""
    steps: int
    settle: float
    """share of the steps before the mean begins; 1: the last mask alone"""

    def start(self, pairs: Pairs, mask: Tensor) -> None:
        """From ``mask`` (B, 1, H, W)."""
        pairs.learned.update(vectors_of(mask, self.sizes))
        pairs.fixed.update({name: torch.zeros_like(vector) for name, vector in pairs.learned.items()})

    def mask(self, pairs: Pairs) -> Tensor:
        return superimposed(pairs.learned, pairs.image_size)

    def after_step(self, pairs: Pairs) -> None:
        for vector in pairs.learned.values():
            vector.clamp_(0, 1)
        settled(pairs, pairs.learned, self.steps, self.settle)

    def result(self, pairs: Pairs) -> Tensor:
        return superimposed({name: pairs.fixed[name] for name in pairs.learned}, pairs.image_size)[:, 0]


@dataclass(frozen=True)
class StackProblem(Superimposed):
    """M = the mean of the upsampled vectors; see :class:`protomask.localizers.engine.learning.MaskProblem`.

    Minimises the consistency + lambda mean(M). Lambda grows geometrically over the steps, and the result is the mean of
    M over the later ones: what outlives a high price counts more.
    """

    explained: Explainable
    sizes: tuple[int, ...]
    weights: tuple[float, float]
    """lambda at the first and the last step"""
    steps: int
    settle: float
    consistency: str
    """see :func:`protomask.localizers.engine.objective.kept`"""
    background: str
    """see :func:`protomask.localizers.engine.objective.begin_objective`"""
    seed: int = 0
    destroy: bool = False
    """M hides the image instead of showing it, and is to destroy the score"""

    def begin(self, pairs: Pairs) -> None:
        begin_objective(self.explained, pairs, self.background, self.seed)
        self.start(pairs, pairs.images.new_ones(len(pairs), 1, *pairs.image_size))

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        return (shown(pairs, 1 - mask if self.destroy else mask),)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        cost = (destroyed if self.destroy else kept)(pairs, scores[0], self.consistency)
        size = sum(vector.mean((1, 2, 3)) for vector in pairs.learned.values()) / len(self.sizes)
        return cost + growing(*self.weights, pairs.step, self.steps).to(cost, non_blocking=True) * size


def vectors_of(mask: Tensor, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """The mask (B, 1, H, W) as vectors of all sizes: means over their cells."""
    return {
        f"vector{number}": F.adaptive_avg_pool2d(mask, grid_shape(size, tuple(mask.shape[-2:])))
        for number, size in enumerate(sizes)
    }


def superimposed(vectors: dict[str, Tensor], image_size: tuple[int, int]) -> Tensor:
    """The mean of the upsampled vectors, (B, 1, H, W)."""
    return sum(upsample(vector, image_size) for vector in vectors.values()) / len(vectors)
