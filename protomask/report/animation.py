"""A mask as it grows: the same localizer stopped after more and more steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.files import write_atomically
from protomask.freezing import frozen
from protomask.localizers import Localizer
from protomask.localizers.base import ChoosesSettings
from protomask.report import style
from protomask.report.evidence import fit_map
from protomask.report.overlays import LEVEL
from protomask.report.wording import localizer_label, percent

T = TypeVar("T")


class Stage(NamedTuple):
    """Hold a mask after some steps."""

    steps: int
    saliency: np.ndarray
    """(H, W) float32 in [0, 1]"""
    kept: float
    """score of the image under the mask, as a share of the whole image's"""
    shown: float
    """mean of the mask: how much of the image it shows"""


def stopped_after(localizer: Localizer, steps: int) -> Localizer:
    """Limit each optimisation of a localizer to ``steps`` steps: its fields ``steps``, also in parts of its settings.

    Raises:
        InputError: it has none, so its maps do not grow.
    """
    most_steps(localizer)
    return _limited(localizer, steps)


def _limited(part: Any, steps: int) -> Any:
    changed = {}
    for each in dataclasses.fields(part):
        value = getattr(part, each.name)
        if dataclasses.is_dataclass(value):
            changed[each.name] = _limited(value, steps)
        elif each.name == "steps" and value is not None:
            changed[each.name] = min(value, steps)
    return dataclasses.replace(part, **changed)


def most_steps(localizer: Localizer) -> int:
    """Count the steps of a localizer's longest optimisation.

    Raises:
        InputError: it has none, so its maps do not grow.
    """
    found = list(_steps(localizer))
    if not found:
        raise InputError(
            f"{type(localizer).__name__} has no steps, so its map does not grow; choose a learned mask, for example mdm"
        )
    return max(found)


def _steps(part: object) -> Iterator[int]:
    for each in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, each.name)
        if dataclasses.is_dataclass(value):
            yield from _steps(value)
        elif each.name == "steps" and value:  # some refine a map that is there already by no step at all
            yield value


def completed(localizer: Localizer, explained: Explainable) -> Localizer:
    """Fill in the settings that a localizer chooses by what it explains."""
    return localizer.for_model(explained) if isinstance(localizer, ChoosesSettings) else localizer


def grow(
    localizer: Localizer, explained: Explainable, image: Tensor, index: int, *, frames: int = 10, progress: bool = False
) -> list[Stage]:
    """Compute the map of one image after 1, ..., all steps; closer together at first, where more changes.

    Every frame starts anew and is what the localizer gives with that many steps, so that ``frames`` frames cost up to
    ``frames / 2`` times as much as the map itself.

    Args:
        image: (3, H, W), normalised, on the model's device.
        index: class or prototype.
        frames: at most; the last one is the localizer's own map.

    Raises:
        InputError: the localizer has no steps.
    """
    localizer = completed(localizer, explained)
    most = most_steps(localizer)
    chosen = range(1, most + 1) if frames >= most else sorted({round(step) for step in np.geomspace(1, most, frames)})
    images, where = image[None], torch.tensor([index], device=image.device)
    with torch.no_grad(), frozen(explained):
        whole = float(explained.score(images, where))
    stages = []
    for steps in chosen:
        saliency = stopped_after(localizer, steps)(explained, images, where, progress=progress)
        if not saliency.any() and steps < most:  # so far the same everywhere
            continue
        with torch.no_grad(), frozen(explained):
            kept = float(explained.score(images * saliency[:, None].to(images), where))
        stages.append(
            Stage(
                steps,
                saliency[0].float().cpu().numpy(),
                kept / whole if whole else float("nan"),
                float(saliency.mean()),
            )
        )
    return stages


@style.styled
def frame(
    picture: np.ndarray,
    stages: Sequence[Stage],
    place: int,
    localizer: str,
    title: str,
    *,
    level: float = LEVEL,
    nothing_to_keep: bool = False,
) -> np.ndarray:
    """Draw one frame, (h, w, 3) uint8: the image under the mask, the map over it, and the course so far.

    Args:
        picture: (H, W, 3) uint8.
        stages: of :func:`grow`.
        place: which of them.
        localizer: its name, for its colours.
        title: above everything.
        nothing_to_keep: as for :func:`protomask.report.evidence.find_evidence`.
    """
    stage, tile = stages[place], 2.2
    figure = style.new_figure(2 * tile + 0.48, tile + 2.15)
    width = 2 * tile + 0.18
    style.write(figure, 0.15, 0.12, title, within=width, fontsize=10, fontweight="bold")
    facts = (
        f"{localizer_label(localizer)} after {stage.steps} step{'' if stage.steps == 1 else 's'}: shows "
        f"{percent(stage.shown, 0)} of the image, keeps {percent(stage.kept, 0)} of the similarity"
    )
    style.write(figure, 0.15, 0.36, facts, within=width, fontsize=8, color=style.QUIET)
    shown = fit_map(stage.saliency, picture.shape[:2])[..., None]
    masked = np.uint8(picture * shown + 127 * (1 - shown))
    style.tile(style.place(figure, 0.15, 0.62, tile, tile), masked)
    style.tile(
        style.place(figure, 0.33 + tile, 0.62, tile, tile),
        picture,
        saliency=stage.saliency,
        localizer=localizer,
        overlay=0.55,
        level=level,
        nothing_to_keep=nothing_to_keep,
    )
    axes = style.place(figure, 0.6, tile + 0.8, 2 * tile - 0.25, 0.85)
    steps = [each.steps for each in stages]
    for values, color, dash, label in (
        ([each.kept for each in stages], style.RIGHT, "-", "similarity kept"),
        ([each.shown for each in stages], style.QUIET, "--", "image shown"),
    ):
        axes.plot(
            steps[: place + 1],
            [100 * value for value in values[: place + 1]],
            dash,
            color=color,
            linewidth=1.6,
            label=label,
            marker="o",
            markersize=3,
        )
    top = max(105.0, *(100 * each.kept for each in stages))
    axes.set(xlim=(0, max(steps) + 0.5), ylim=(0, top), xlabel="steps", ylabel="%")
    axes.legend(loc="center right", fontsize=7)
    figure.set_dpi(110)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_animation(
    path: str | Path,
    picture: np.ndarray,
    stages: Sequence[Stage],
    localizer: str,
    title: str,
    *,
    seconds: float = 0.5,
    nothing_to_keep: bool = False,
) -> Path:
    """Write a GIF that loops: ``seconds`` for each frame, four times as long for the last; else as :func:`frame`."""
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise InputError(f"{path}: an animation is a GIF; end its name in .gif")
    frames = [
        Image.fromarray(frame(picture, stages, place, localizer, title, nothing_to_keep=nothing_to_keep)).convert(
            "P", palette=Image.Palette.ADAPTIVE
        )
        for place in range(len(stages))
    ]
    durations = [int(1000 * seconds)] * (len(frames) - 1) + [int(4000 * seconds)]
    write_atomically(
        path,
        lambda file: frames[0].save(
            file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
        ),
    )
    return path
