""" "This looks like that" for new images, by a run's prototypes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from protomask.data.decoding import IntensityRange
from protomask.data.depth import without_range
from protomask.errors import InputError
from protomask.explanations.photographs import photograph
from protomask.explanations.predictions import explain
from protomask.explanations.records import Explanation
from protomask.given import as_count
from protomask.inputs import as_batch, as_pixels, name_pictures
from protomask.localizers.several import Localizers
from protomask.run.results import Explanations
from protomask.suggested import command

if TYPE_CHECKING:
    from protomask.run.opened import Run

NO_RANGE = "; this run was trained without --intensity-range"
"""why none can be given where a run reads an image, see :func:`protomask.data.depth.without_range`"""


def explain_images(run: Run, images: Any, **settings) -> Explanations:
    """Explain all of some images, which are checked before any work; see :meth:`protomask.run.Run.explain`."""
    named = name_pictures(images)
    check_images(named, run.options.levels())
    return Explanations(explanation for explanation, _ in explain_each(run, named, **settings))


def explain_each(
    run: Run,
    named: Sequence[tuple[str, Any]],
    *,
    localizer: Localizers | None = None,
    top: int | None = None,
    counter: int = 1,
) -> Iterator[tuple[Explanation, Tensor]]:
    """Explain images one after the other, as they are asked for.

    Args:
        run: with pictures of its prototypes.
        named: from :func:`protomask.inputs.name_pictures`.
        localizer, top, counter: see :meth:`protomask.run.Run.explain`.

    Yields:
        The explanation, and the network's input (1, 3, H, W). With several findings per image there may be several
        explanations of one input.

    Raises:
        InputError: see :meth:`protomask.run.Run.explain`.
    """
    top, counter = None if top is None else as_count(top, "top"), as_count(counter, "counter", 0)
    localizers = run.localizers(localizer, pictures=True)
    pictures = run.pictures
    missing = [name for name in localizers if name not in pictures[0].maps]
    if missing:
        raise InputError(
            f"the prototypes of {run.folder} have no maps of {', '.join(missing)} to show beside the image's; "
            f"make them with: {command('project', run.folder, '--localizer', ','.join(localizers))}"
        )
    for name, image in named:
        pixels = as_pixels(image, name, run.options.levels())
        batch = as_batch(pixels, run.transform).to(run.device)
        for explanation in explain(
            run.network,
            batch,
            [name],
            pictures,
            localizers,
            shown_as=[photograph(pixels)],
            top=top,
            counter=counter,
            progress=run.progress,
        ):
            yield explanation, batch


def require_mask_growth(run: Run, localizer: Localizers | None = None) -> None:
    """Raise InputError where the first localizer takes no steps that :func:`save_mask_growth` could show."""
    from protomask.report.animation import completed, most_steps

    most_steps(completed(next(iter(run.localizers(localizer, pictures=True).values())), run.network))


def save_mask_growth(
    run: Run, explanation: Explanation, batch: Tensor, path: Path, localizer: Localizers | None = None
) -> None:
    """Write a GIF of how the first localizer learns the mask of the explanation's strongest prototype.

    Args:
        batch: the network's input (1, 3, H, W) that was explained.
        path: of the file.
    """
    from protomask.report import grow, save_animation

    localizers, strongest = run.localizers(localizer, pictures=True), explanation.matches[0]
    name, record = next(iter(localizers)), strongest.prototype.record
    stages = grow(localizers[name], run.network, batch[0], record.prototype, progress=run.progress)
    title = f"Prototype {record.prototype}, {record.class_name}"
    save_animation(path, explanation.image, stages, name, title, nothing_to_keep=strongest.nothing_to_keep)


def check_images(named: Sequence[tuple[str, Any]], intensity_range: IntensityRange | None = None) -> None:
    """Raise InputError for the first image that cannot be read, with the range of a run's training."""
    with without_range(NO_RANGE):
        for name, image in named:
            as_pixels(image, name, intensity_range)
