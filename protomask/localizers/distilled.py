"""The mask that a learned one would be, in one pass: an explainer network that was trained for the model."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from protomask.errors import InputError, LowFaithfulnessWarning, first_of
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.localizers.amortised.explainer import draw_saliency
from protomask.localizers.amortised.files import Opened, open_explainer
from protomask.localizers.amortised.taps import look_at
from protomask.localizers.base import check_pairs, fitting_batch_size, min_max, run_in_chunks
from protomask.localizers.engine.objective import score_range
from protomask.localizers.engine.order import REST
from protomask.localizers.engine.widening import widened
from protomask.localizers.mdm import MDM
from protomask.localizers.settings import Runtime, Settings, Views, require_value
from protomask.localizers.stages import Stages, ready_to_learn
from protomask.warned import about_maps, name_of_map

PRICE, SETTLE, VIEWS = (1.0, 2.0), 0.4, Views(noise=0.0, shift=1 / 28)
"""of the steps that refine a class's map: so few have no noise, half of MDM's shifts, and a lower price of the size"""
CONTRAST = 1.25
"""power of a class's refined map, as MDM's has one: the evidence stands out more, at a higher drop"""
LOW = 0.25
"""how much more of its range the score must keep with the mask than without it, so that the map counts as faithful"""


class Faithfulness(NamedTuple):
    """Hold what two forward passes say of B maps, as shares of the score's range from the mean colour to the image."""

    kept: Tensor
    """(B,) with the map's part of the image alone; 1: all of the score, more where it rises"""
    rest: Tensor
    """(B,) with that part hidden; 0: nothing is left"""

    @property
    def low(self) -> Tensor:
        """(B,) bool: the map tells little about where the score comes from."""
        return ~(self.kept - self.rest >= LOW)


@dataclass(frozen=True, repr=False)
class Distilled(Settings):
    """Draw the mask in one forward pass, by an explainer network that :func:`protomask.distill` trained; ours.

    A small network looks at the features that the model has anyway, at the image, and at the question (a class's
    gradient at the last feature map, or a prototype's vector), and gives two maps: what keeps the score, and which
    pixels come first. They are put together as MDM does.

    >>> distilled = protomask.distill(model, "photographs/", output="explainer")        # doctest: +SKIP
    >>> protomask.look(model, "bird.jpg", localizer="distilled:folder=explainer")       # doctest: +SKIP

    Args:
        folder: where ``localizer.safetensors`` lies. Of a run it is the run's own and need not be given.
        steps: refine each map by so many steps in which MDM's mask that keeps the score goes on from it; each costs one
            forward-backward pass. On birds five were as faithful as MDM's own fifty (docs/benchmarks.md).
        check: look by four further forward passes at what the map keeps and what is left without it, and warn
            (:class:`protomask.errors.LowFaithfulnessWarning`) where that is little.
        runtime: batch size, precision and seed of the steps.
        explainer: what ``folder`` holds, where it is at hand.

    Raises:
        InputError: ``folder`` holds no explainer, or a damaged one.

    Cost: one forward pass and, for classes, the backward pass of the layers after the last feature map.
    """

    folder: str | None = None
    steps: int = 0
    check: bool = True
    runtime: Runtime = Runtime()
    explainer: Opened | None = None

    def __post_init__(self) -> None:
        self.require_steps(0)
        self.require(isinstance(self.check, bool), "check", "True or False")
        if self.folder is not None and self.explainer is None:
            object.__setattr__(self, "explainer", open_explainer(self.folder))

    def __repr__(self) -> str:
        # The explainer says what it is, wherever it lies.
        return super().__repr__() if self.explainer is None else Settings.__repr__(_without_folder(self))

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Distilled:
        """Open the explainer in a folder; as ``Distilled(folder=...)``."""
        return cls(folder=os.fspath(folder))

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``localizer.safetensors`` and ``localizer.json``."""
        self.opened().save(folder)

    def opened(self) -> Opened:
        """Give the explainer.

        Raises:
            InputError: there is none.
        """
        if self.explainer is None:
            raise InputError(
                "distilled has no explainer network here; name its folder (distilled:folder=DIR), which "
                "protomask.distill makes, or, of a run, protomask distill RUN"
            )
        return self.explainer

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; InputError where the explainer was made for another model."""
        opened = self.opened()
        index = check_pairs(images, index, explained)
        if not opened.fits(explained):
            about_maps(
                LowFaithfulnessWarning,
                f"the explainer was distilled for other weights than those of this {type(explained).__name__}; its "
                "maps may mean little: distill it again",
                stacklevel=2,
            )
        if self.steps:
            maps = _refined(opened, explained, images, index.long(), self.steps, self.runtime, progress)
        else:
            maps = draw(opened, explained, images, index.long(), self.runtime.batch_size)
        if self.check:
            _warn_of_low(measure_faithfulness(explained, images, index, maps), index)
        return maps


def _without_folder(distilled: Distilled) -> Distilled:
    shown = copy.copy(distilled)
    object.__setattr__(shown, "folder", None)
    return shown


def draw(
    opened: Opened, explained: Explainable, images: Tensor, index: Tensor, batch_size: int | None = None
) -> Tensor:
    """Draw the maps (B, H, W) in [0, 1]."""
    network = opened.on(images.device)

    def part_of(rows: slice) -> Tensor:
        seen = look_at(explained, opened.taps, images[rows], index[rows])
        with torch.no_grad():
            return draw_saliency(network, images[rows].float(), seen, opened.contrast)

    if not len(images):
        raise InputError("there are no images to explain; give at least one")
    return torch.cat(run_in_chunks(len(images), fitting_batch_size(batch_size, images), part_of))


def measure_faithfulness(explained: Explainable, images: Tensor, index: Tensor, maps: Tensor) -> Faithfulness:
    """Measure what maps (B, H, W) keep of the score, and what is left without them, over the mean colour.

    Two forward passes, and two more for the ends of the score's range.
    """

    explained, images = widened(explained, images)

    def part_of(rows: slice) -> Tensor:
        part, of, mask = images[rows], index[rows].long(), maps[rows, None].to(images)
        # One after the other: all four together would leave a processor's cache.
        whole, empty, kept, rest = (
            explained.score(view, of).float() for view in (part, torch.zeros_like(part), part * mask, part * (1 - mask))
        )
        extent = score_range(whole, empty)
        # Where there is nothing to keep, nothing is kept.
        return torch.where(whole > empty, torch.stack([(kept - empty) / extent, (rest - empty) / extent]), 0.0).T

    with torch.no_grad(), frozen(explained):
        found = torch.cat(run_in_chunks(len(images), fitting_batch_size(None, images), part_of))
    return Faithfulness(*found.unbind(1))


def _warn_of_low(found: Faithfulness, index: Tensor) -> None:
    low = found.low.nonzero().flatten().tolist()
    if low:
        places = [
            name_of_map(row, int(index[row]), f"{found.kept[row]:.2f} of the score kept, {found.rest[row]:.2f} without")
            for row in low
        ]
        about_maps(
            LowFaithfulnessWarning,
            f"the distilled map tells little about where the score comes from in {first_of(places, 5)}; "
            "learn these masks one by one (mdm)",
            stacklevel=3,
        )


def _refined(
    opened: Opened,
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    steps: int,
    runtime: Runtime,
    progress: bool,
) -> Tensor:
    """Let MDM's mask that keeps the score go on from the maps for a few steps; they order what it leaves out."""
    preset = MDM().for_model(explained)
    keep, views, share = replace(preset.keep, steps=steps), preset.views, preset.destroy.share
    if isinstance(explained, Classifier):
        keep, views, share = replace(keep, size_weights=PRICE, settle=SETTLE), VIEWS, REST
    with ready_to_learn(explained, images, index, runtime.batch_size, runtime.precision) as (quick, wide, batch_size):
        # The steps would amplify what a batch or threads change about their start.
        maps = draw(opened, explained, images, index, batch_size)
        runtime = replace(runtime, batch_size=batch_size)
        stages = Stages(quick, require_value(preset.background), runtime, views, progress, "distilled")
        refined = min_max(stages.keep(wide, index, keep, start=maps.to(wide)) + share * maps)
    return refined.pow(CONTRAST) if isinstance(explained, Classifier) else refined
