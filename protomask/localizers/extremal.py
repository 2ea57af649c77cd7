"""Extremal perturbation (Fong, Patrick, Vedaldi, ICCV 2019, arXiv 1910.08485)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.capabilities import score_kind
from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.learning import MaskState, learn_masks
from protomask.localizers.engine.masks import gaussian_blur, grid_shape, upsample
from protomask.localizers.engine.objective import select_rows
from protomask.localizers.engine.optimisers import Momentum
from protomask.localizers.settings import WIDEST, Settings, within
from protomask.localizers.stages import ready_to_learn

FLAT = 1e-6
"""a score that changes by no more than this share of its size over all masks is not changed by any"""
COLDNESS = 20.0
SAMPLES = 4
"""Per cell and side, where the mask is computed; between them it is bilinear."""


@dataclass(frozen=True)
class ExtremalPerturbation(Settings):
    """Learn the smooth mask of a given area that keeps the score highest; the mean over ``areas``.

    The paper's preservation game.

    Known, from the paper and the authors' code (TorchRay), for a vector m in [0, 1] of one cell per 7 pixels at 224:
    maximise  s(x blurred where M hides it)  -  lambda mean((sorted M - step of the area)^2); lambda starts at 300 and
    grows by 0.35 % a step; M = smooth maximum over cells of k(distance / 21 pixels) m, k(z) = exp(-2 max(0, z -
    1/2)^2), weights softmax(20 k m); hiding is by 8 levels of blur up to sigma 20; every second step sees the image
    mirrored; SGD 0.01, momentum and dampening 0.9, 800 steps, all-ones start.

    Reconstruction: the area is counted within the image (TorchRay: with a margin of 21 pixels); M is computed at 4 x 4
    points of a cell and interpolated; lengths in pixels grow with the image's shorter side; a score that is neither
    logit nor log-probability is a reward of 10 times its share of the whole image's.

    Args:
        areas: shares of the image, each a mask of its own; TorchRay's default is one of 0.1.
        steps, rate: of SGD; one forward-backward pass per area and step.
        area_weight, growth: lambda and its growth per step.
        cell, reach: pixels at 224, side of a cell and width of k.
        levels, image_blur: of blur, and its largest standard deviation in pixels at 224.
        batch_size, precision: see :class:`protomask.localizers.MDM`.
    """

    areas: tuple[float, ...] = (0.1,)
    steps: int = 800
    rate: float = 0.01
    area_weight: float = 300.0
    growth: float = 1.0035
    cell: int = 7
    reach: float = 21.0
    levels: int = 8
    image_blur: float = 20.0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        areas = self.areas if isinstance(self.areas, tuple | list) else ()
        valid = bool(areas) and all(within(area, 0, 1, above=True) and area < 1 for area in areas)
        self.require(valid, "areas", "a tuple of at least one share, each between 0 and 1")
        self.require_steps(1, "steps", "cell")
        self.require_steps(2, "levels")
        self.require_positive("rate", "growth")
        self.require_not_negative("area_weight")
        self.require_share("reach", WIDEST, f"a number of pixels, more than 0 and up to {WIDEST}")
        self.require_share("image_blur", WIDEST, f"a number of pixels, more than 0 and up to {WIDEST}")
        self.require_runtime()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        with ready_to_learn(explained, images, index, self.batch_size, self.precision) as (
            quick,
            wide,
            batch_size,
        ):
            masks = [
                learn_masks(
                    quick,
                    wide,
                    index,
                    _Preservation(self, quick, area),
                    steps=self.steps,
                    optimiser=Momentum(self.rate),
                    batch_size=batch_size,
                    progress=progress,
                    description=f"extremal {area:g}",
                ).result
                for area in self.areas
            ]
            return min_max(reduce(torch.add, masks) / len(masks))


@dataclass(frozen=True)
class _Preservation:
    """See :class:`protomask.localizers.engine.learning.MaskProblem`."""

    settings: ExtremalPerturbation
    explained: Explainable
    area: float

    def begin(self, state: MaskState) -> None:
        settings = self.settings
        scale = min(state.image_size) / 224
        cells = grid_shape(max(round(224 / settings.cell), 1), state.image_size)
        state.learned["cells"] = state.images.new_ones(len(state), 1, *cells)
        sigmas = [
            settings.image_blur * scale * (1 - level / (settings.levels - 1)) for level in range(settings.levels - 1)
        ]
        state.buffers["least"] = state.buffers["greatest"] = state.score
        state.buffers["levels"] = torch.stack(
            [*(gaussian_blur(state.images, sigma) for sigma in sigmas), state.images], 1
        )

    def mask(self, state: MaskState) -> Tensor:
        return upsample(self._samples(state), state.image_size)

    def _samples(self, state: MaskState) -> Tensor:
        cells = state.learned["cells"]
        pitch = min(side / count for side, count in zip(state.image_size, cells.shape[-2:]))
        return smooth_maximum(cells, self.settings.reach * min(state.image_size) / 224 / pitch)

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        # Linear between neighbouring levels: each level's weight is a hat around its own place.
        levels = torch.arange(self.settings.levels, dtype=mask.dtype, device=mask.device).view(1, -1, 1, 1, 1)
        weights = (1 - (mask[:, None] * (self.settings.levels - 1) - levels).abs()).relu()
        image = (weights * state.buffers["levels"]).sum(1)
        return (select_rows(state.step % 2 == 0, image.flip(3), image),)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        settings = self.settings
        values = mask.flatten(1).sort(dim=1, stable=True).values
        shown = torch.arange(values.shape[1], device=mask.device) >= int(values.shape[1] * (1 - self.area))
        error = (values - shown.to(values)).square().mean(1)
        state.buffers["least"] = state.buffers["least"].minimum(scores[0].detach())
        state.buffers["greatest"] = state.buffers["greatest"].maximum(scores[0].detach())
        known = score_kind(self.explained) in ("logit", "log-probability")
        reward = scores[0] if known else 10 * scores[0] / state.score.abs().clamp_min(1e-6)
        growth = (settings.growth**state.step).to(error, non_blocking=True)
        return settings.area_weight * growth * error - reward

    def after_step(self, state: MaskState) -> None:
        state.learned["cells"].clamp_(0, 1)

    def result(self, state: MaskState) -> Tensor:
        """Give the mask; none where no mask changed the score, so that its area alone decided."""
        least, greatest = state.buffers["least"], state.buffers["greatest"]
        flat = greatest - least <= FLAT * greatest.abs().maximum(least.abs())
        return self.mask(state)[:, 0].masked_fill(flat[:, None, None], 0.0)


def smooth_maximum(cells: Tensor, reach: float) -> Tensor:
    """Compute the mask of ``cells`` (B, 1, h, w) at 4 x 4 points of each cell: (B, 1, 4h, 4w).

    At a point u: the mean of z_i = k(|u - i| / reach) m_i over the cells i around, weighted by softmax(20 z); ``reach``
    and the distances are in cells. A single cell of one gives a disc of radius ``reach`` / 2 with a soft edge.
    """
    radius = 1 + math.ceil(reach)
    kernel = _kernel(reach, radius).to(cells)
    height, width = cells.shape[-2:]
    around = F.unfold(F.pad(cells, (radius,) * 4), 2 * radius + 1)
    values = around[:, :, None] * kernel[:, :, None]
    pooled = (values * (COLDNESS * values).softmax(1)).sum(1)
    return F.pixel_shuffle(pooled.view(len(cells), SAMPLES**2, height, width), SAMPLES)


@lru_cache(maxsize=16)
def _kernel(reach: float, radius: int) -> Tensor:
    """((2 radius + 1)^2 cells around, SAMPLES^2 points of the cell in the middle)"""
    cell = torch.arange(-radius, radius + 1, dtype=torch.float64)
    point = (torch.arange(SAMPLES, dtype=torch.float64) + 0.5) / SAMPLES - 0.5
    along = (cell[:, None] - point).square()
    squared = along[:, None, :, None] + along[None, :, None, :]
    distance = squared.reshape(len(cell) ** 2, SAMPLES**2).sqrt() / reach
    return torch.exp(-2 * (distance - 0.5).clamp_min(0) ** 2)
