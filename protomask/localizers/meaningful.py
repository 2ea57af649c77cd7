"""Meaningful perturbation (Fong and Vedaldi, ICCV 2017, arXiv 1704.03296)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.learning import MaskState, learn_masks
from protomask.localizers.engine.masks import gaussian_blur, grid_shape, upsample
from protomask.localizers.engine.objective import probability, select_rows
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.settings import WIDEST, Settings, within
from protomask.localizers.stages import ready_to_learn


@dataclass(frozen=True)
class MeaningfulPerturbation(Settings):
    """Learn the smallest smooth region whose blurring makes the score fall (the paper's deletion game).

    Known from the paper, for a mask m of 28 x 28 cells at 224 pixels in [0, 1] (1 keeps the image): minimise
    f(x M + blur(x) (1 - M))  +  l1 sum|1 - m|  +  tv sum_cells |grad m|^3, M = m upsampled, then blurred with sigma 5;
    f the probability of the class, blur of sigma 10, image moved at random by up to 4 pixels in each step, Adam 0.1,
    300 steps. The map is min-max of 1 - M.

    Reconstruction: m starts at one (the paper starts at a blurred disc found by trial); lengths in pixels grow with the
    image's shorter side; f is the probability where ``explained`` is a Classifier of (log-)probabilities, else its
    score as a share of its value on the whole image.

    Args:
        cells: of the mask along the image's shorter side.
        steps, rate: of Adam; one forward-backward pass each.
        l1, tv: weights of the size and of the total variation (exponent 3).
        mask_blur, image_blur: standard deviations in pixels at 224.
        jitter: largest shift in pixels at 224; seeded.
        seed: of the shifts.
        batch_size, precision: see :class:`protomask.localizers.MDM`.
    """

    cells: int = 28
    steps: int = 300
    rate: float = 0.1
    l1: float = 1e-4
    tv: float = 1e-2
    mask_blur: float = 5.0
    image_blur: float = 10.0
    jitter: int = 4
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        self.require_steps(1, "cells", "steps")
        self.require_steps(0, "jitter")
        self.require_positive("rate")
        self.require_not_negative("l1", "tv")
        blur = f"a number of pixels from 0 to {WIDEST}"
        self.require(within(self.mask_blur, 0, WIDEST), "mask_blur", blur)
        self.require_share("image_blur", WIDEST, f"a number of pixels, more than 0 and up to {WIDEST}")
        self.require_seed()
        self.require_runtime()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        scale = min(images.shape[-2:]) / 224
        reach = round(self.jitter * scale)
        generator = torch.Generator().manual_seed(self.seed)
        shifts = torch.randint(-reach, reach + 1, (self.steps, 2), generator=generator).tolist()
        with ready_to_learn(explained, images, index, self.batch_size, self.precision) as (
            quick,
            wide,
            batch_size,
        ):
            return min_max(
                learn_masks(
                    quick,
                    wide,
                    index,
                    _Deletion(self, quick, scale, shifts),
                    steps=self.steps,
                    optimiser=Adam(self.rate),
                    batch_size=batch_size,
                    progress=progress,
                    description="meaningful",
                ).result
            )


@dataclass(frozen=True)
class _Deletion:
    """See :class:`protomask.localizers.engine.learning.MaskProblem`."""

    settings: MeaningfulPerturbation
    explained: Explainable
    scale: float
    """pixels of the image per pixel at 224"""
    shifts: list
    """rows and columns by which the image moves in each step"""

    def begin(self, state: MaskState) -> None:
        state.learned["mask"] = state.images.new_ones(len(state), 1, *grid_shape(self.settings.cells, state.image_size))
        state.buffers["blurred"] = gaussian_blur(state.images, self.settings.image_blur * self.scale)

    def mask(self, state: MaskState) -> Tensor:
        return self._enlarged(state, state.learned["mask"])

    def _enlarged(self, state: MaskState, cells: Tensor) -> Tensor:
        return gaussian_blur(upsample(cells, state.image_size), self.settings.mask_blur * self.scale)

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        image = torch.lerp(state.buffers["blurred"], state.images, mask)
        # Pairs of one batch may be at different steps, where some ended early.
        for step in state.step.unique().tolist():
            image = select_rows(state.step == step, image.roll(self.shifts[step], (2, 3)), image)
        return (image,)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        cells = state.learned["mask"]
        size = (1 - cells).sum((1, 2, 3))
        rows, columns = cells[..., 1:, :] - cells[..., :-1, :], cells[..., 1:] - cells[..., :-1]
        variation = rows.abs().pow(3).sum((1, 2, 3)) + columns.abs().pow(3).sum((1, 2, 3))
        score = probability(self.explained, scores[0])
        score = scores[0] / state.score.abs().clamp_min(1e-6) if score is None else score
        return score + self.settings.l1 * size + self.settings.tv * variation

    def after_step(self, state: MaskState) -> None:
        state.learned["mask"].clamp_(0, 1)

    def result(self, state: MaskState) -> Tensor:
        # Not 1 - mask, whose rounding would be all of the map where nothing is hidden.
        return self._enlarged(state, 1 - state.learned["mask"])[:, 0]
