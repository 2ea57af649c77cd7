"""Localizers that do not look at the model: what every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.masks import seeded_noise
from protomask.localizers.settings import Settings, within


@dataclass(frozen=True)
class RandomMap(Settings):
    """Draw uniform noise, each pixel independent; it depends on the image, the index and the seed alone."""

    seed: int = 0

    def __post_init__(self) -> None:
        self.require_seed()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; the model is not used."""
        index = check_pairs(images, index, explained)
        height, width = images.shape[-2:]
        return min_max(seeded_noise(images, index, height * width, self.seed).view(-1, height, width))


@dataclass(frozen=True)
class CenterMap(Settings):
    """Draw a Gaussian at the centre, where photographers put what matters.

    ``width`` is its standard deviation as a share of each side.
    """

    width: float = 0.25

    def __post_init__(self) -> None:
        self.require(within(self.width, 1e-3), "width", "a number of at least 0.001")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; neither the model nor the image is used."""
        index = check_pairs(images, index, explained)
        rows, columns = (_bell(side, self.width, images.device) for side in images.shape[-2:])
        return min_max((rows[:, None] * columns).expand(len(images), -1, -1))


def _bell(side: int, width: float, device: torch.device) -> Tensor:
    offset = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side - 0.5
    return torch.exp(-(offset**2) / (2 * width**2))
