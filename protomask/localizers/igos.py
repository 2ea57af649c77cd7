"""iGOS++: masks learned along integrated gradients (Khorram, Lawson, Li, ACM CHIL 2021, arXiv 2012.15783)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.learning import MaskState, learn_masks
from protomask.localizers.engine.masks import gaussian_blur, grid_shape, upsample
from protomask.localizers.engine.objective import probability
from protomask.localizers.engine.variation import Variation
from protomask.localizers.settings import WIDEST, Settings
from protomask.localizers.stages import ready_to_learn

ROOM = 4
"""images whose room a pair is taken to need: a step has many views"""
SLOPE = 1e-4
"""share of the fall that the slope promises which a step must bring (Armijo), as in the authors' code"""
SHRINK = 0.2
"""what a step that is too long is multiplied by, as in the authors' code"""
SHORTEST = 1e-5
"""a step as short as this is taken whatever it brings, as in the authors' code"""


@dataclass(frozen=True)
class IGOS(Settings):
    """Learn where to blur so that the score falls, and where so that it stays, along paths of integrated gradients.

    Known, from the paper and the authors' code, for two masks M and N of 28 x 28 cells at 224 pixels, ones at first (1
    leaves the image as it is for M, and blurs it for N): with a(T) the mean score of x t T + blur(x) (1 - t T), b(T) of
    blur(x) t T + x (1 - t T), over t = 1/20, ..., 1 and noise of 0.2, minimise

    (a(M) - b(N) + a(M N) - b(M N)) / 2  +  10 mean(1 - M N)  +  20 BTV(M N)

    by gradient descent; each step's length starts at 1,000 and shrinks by 0.2 until the loss falls enough (Armijo,
    1e-4). BTV is half of the mean squared differences of neighbouring cells, and of neighbouring pixels, these times
    exp(-d^2 / 0.01), d the difference of the image's values. The map is 1 - M N.

    Reconstruction: the loss of the gradient also decides about the step's length (theirs there has no half), under the
    same noise (theirs is drawn anew); a search starts at five times the step before it, which saves passes; the blur is
    a Gaussian of 14.5 pixels (theirs of 50, cut off at 25, is as wide); cells are enlarged between their centres;
    lengths in pixels grow with the image's shorter side; the score is the probability of a Classifier of
    (log-)probabilities, else its share of the whole image's.

    Cost: 4 ``points`` forward-backward passes a step, 1,200 in all, and as many forward ones for each length of a step
    that is tried, about two. ``IGOS(steps=10, points=4)`` costs an eighth.

    Args:
        cells: of the masks along the image's shorter side.
        steps: of gradient descent.
        points: on each of the four paths.
        l1, variation: weights of the masks' size and of the BTV.
        edge: what d^2 is divided by, in units of the normalised image.
        rate: the longest step.
        noise: standard deviation, as a share of that of the image's values.
        image_blur: standard deviation in pixels at 224.
        seed: of the noise.
        batch_size, precision: see :class:`protomask.localizers.MDM`; of what fits a quarter, since a step has many
            views.
    """

    cells: int = 28
    steps: int = 15
    points: int = 20
    l1: float = 10.0
    variation: float = 20.0
    edge: float = 0.01
    rate: float = 1000.0
    noise: float = 0.2
    image_blur: float = 14.5
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        self.require_steps(1, "cells", "steps", "points")
        self.require_positive("rate", "edge")
        self.require_not_negative("l1", "variation", "noise")
        self.require_share("image_blur", WIDEST, f"a number of pixels, more than 0 and up to {WIDEST}")
        self.require_seed()
        self.require_runtime()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        with ready_to_learn(explained, images, index, self.batch_size, self.precision, room=ROOM) as (
            quick,
            wide,
            batch_size,
        ):
            noise = Variation(self.noise, seed=self.seed)
            return min_max(
                learn_masks(
                    quick,
                    wide,
                    index,
                    _Bilateral(self, quick, noise),
                    steps=self.steps,
                    optimiser=_KeepGradient(),
                    batch_size=batch_size,
                    variation=noise,
                    progress=progress,
                    description="igos",
                ).result
            )


@dataclass(frozen=True)
class _KeepGradient:
    """Keep the gradient for the search of the step; see :class:`protomask.localizers.engine.optimisers.Optimiser`."""

    def begin(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(parameter),)

    def step(self, parameter: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        state[0].copy_(gradient)


@dataclass(frozen=True)
class _Bilateral:
    """See :class:`protomask.localizers.engine.learning.MaskProblem`."""

    settings: IGOS
    explained: Explainable
    noise: Variation
    searching: threading.Lock = field(default_factory=threading.Lock)
    """held while ``explained`` scores: pairs may be learned in several threads, and it may keep what it computes"""

    def begin(self, state: MaskState) -> None:
        settings, images = self.settings, state.images
        cells = images.new_ones(len(state), 1, *grid_shape(settings.cells, state.image_size))
        state.learned["deletion"], state.learned["insertion"] = cells, cells.clone()
        state.buffers["blurred"] = gaussian_blur(images, settings.image_blur * min(state.image_size) / 224)
        for name, differences in zip(("rows", "columns"), _differences(images)):
            state.buffers[name] = (-differences.square() / settings.edge).exp().mean(1, keepdim=True)
        state.buffers["loss"] = torch.zeros_like(state.score)
        state.buffers["rate"] = torch.full_like(state.score, settings.rate)

    def mask(self, state: MaskState) -> Tensor:
        return reduce(torch.mul, self._both(state))

    def _both(self, state: MaskState) -> tuple[Tensor, Tensor]:
        deletion, insertion = (upsample(state.learned[name], state.image_size) for name in ("deletion", "insertion"))
        return deletion, insertion

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        deletion, insertion = self._both(state)
        image, blurred = state.images, state.buffers["blurred"]
        paths = (
            (blurred, image, deletion),
            (image, blurred, insertion),
            (blurred, image, mask),
            (image, blurred, mask),
        )
        points = self.settings.points
        return tuple(
            torch.lerp(hidden, shown, each * ((point + 1) / points))
            for hidden, shown, each in paths
            for point in range(points)
        )

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        settings = self.settings
        likely = probability(self.explained, scores)
        shares = scores / state.score.abs().clamp_min(1e-6) if likely is None else likely
        deleted, inserted, both_deleted, both_inserted = shares.view(4, settings.points, -1).mean(1)
        cells = state.learned["deletion"] * state.learned["insertion"]
        weights = (state.buffers["rows"], state.buffers["columns"])
        roughness = sum(_mean(each.square()) for each in _differences(cells)) + sum(
            _mean(each.square() * weight)
            for each, weight in zip(_differences(upsample(cells, state.image_size)), weights)
        )
        loss = (deleted - inserted + both_deleted - both_inserted) / 2
        loss = loss + settings.l1 * _mean(1 - cells) + settings.variation * roughness / 2
        state.buffers["loss"] = loss.detach()
        return loss

    def after_step(self, state: MaskState) -> None:
        """Find each pair's length of the step, and take it."""
        names = tuple(state.learned)
        start = {name: state.learned[name] for name in names}
        slopes = {name: state.moments[f"{name}.0"] for name in names}
        promised = sum(slope.square().flatten(1).sum(1) for slope in slopes.values())
        base, rate = state.buffers["loss"], state.buffers["rate"]
        searched = torch.ones(len(state), dtype=torch.bool)
        while searched.any():
            length = rate.view(-1, 1, 1, 1)
            state.learned = {name: (start[name] - length * slopes[name]).clamp(0, 1) for name in names}
            loss = self._loss_again(state.select(searched))
            chosen = searched.to(rate.device)
            fell = loss <= (base - SLOPE * rate * promised)[chosen]
            searched[searched.clone()] = (~fell & (rate[chosen] >= SHORTEST)).cpu()
            rate = torch.where(searched.to(rate.device), rate * SHRINK, rate)
        state.buffers["loss"] = base
        state.buffers["rate"] = (rate / SHRINK).clamp_max(self.settings.rate)

    def _loss_again(self, state: MaskState) -> Tensor:
        """Compute the loss of masks that are tried, under the noise of the step that was just counted."""
        mask = self.mask(state)
        views = [
            self.noise(view, state.images, state.step - 1, number)
            for number, view in enumerate(self.views(state, mask))
        ]
        with self.searching:
            scores = [self.explained.score(view, state.index).float() for view in views]
        return self.loss(state, mask, torch.stack(scores))

    def result(self, state: MaskState) -> Tensor:
        # Not 1 - mask, whose rounding would be all of the map where nothing is hidden.
        hidden = (upsample(1 - state.learned[name], state.image_size) for name in ("deletion", "insertion"))
        return reduce(lambda one, other: one + other - one * other, hidden)[:, 0]


def _differences(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract from each row, and from each column, of ``maps`` (B, C, H, W) the one before."""
    return maps[..., 1:, :] - maps[..., :-1, :], maps[..., 1:] - maps[..., :-1]


def _mean(maps: Tensor) -> Tensor:
    """Average all of a pair's values, (B, ...) to (B,); zero of none."""
    return maps.flatten(1).sum(1) / max(maps[0].numel(), 1)
