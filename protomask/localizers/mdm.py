"""MDM, Multiple Dynamic Masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.base import min_max
from protomask.localizers.learning import Adam, Pairs, learn_masks
from protomask.localizers.masks import background, grid_shape, upsample

CONSISTENCY = ("one-sided", "absolute", "squared")


@dataclass(frozen=True)
class MDM:
    sizes: tuple[int, ...] = (7, 14)
    size_weight: float = 1.0
    complement: float = 1.0
    steps: int = 10
    learning_rate: float = 0.1
    consistency: str = "one-sided"
    background: str = "zero"
    seed: int = 0
    batch_size: int = 8

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        total = None
        for size in self.sizes:
            found = learn_masks(explained, images, index, _Grid(self, size), steps=self.steps, batch_size=self.batch_size,
                                optimiser=Adam(self.learning_rate), progress=progress, description=f"mdm {size}x{size}")
            total = found.result if total is None else total + found.result
        return min_max(total)


@dataclass(frozen=True)
class _Grid:
    settings: MDM
    size: int

    def begin(self, pairs: Pairs) -> None:
        images = pairs.images
        pairs.learned["vector"] = images.new_ones(len(pairs), 1, *grid_shape(self.size, pairs.image_size))
        pairs.fixed["background"] = background(images, pairs.index, self.settings.background, seed=self.settings.seed)

    def mask(self, pairs: Pairs) -> Tensor:
        return upsample(pairs.learned["vector"], pairs.image_size)

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        shown = torch.lerp(pairs.fixed["background"].expand_as(pairs.images), pairs.images, mask)
        if not self.settings.complement:
            return (shown,)
        return shown, pairs.images + pairs.fixed["background"] - shown

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        scale = torch.where(pairs.score > 0, pairs.score, 1.0)
        fall = (pairs.score - scores[0]) / scale
        loss = fall.relu() + self.settings.size_weight * pairs.learned["vector"].mean((1, 2, 3))
        if self.settings.complement:
            loss = loss + self.settings.complement * scores[1].relu() / scale
        return loss

    def after_step(self, pairs: Pairs) -> None:
        pairs.learned["vector"].clamp_(0, 1)

    def result(self, pairs: Pairs) -> Tensor:
        return upsample(pairs.learned["vector"], pairs.image_size)[:, 0]
