"""Pictures of all prototypes of a run, localised by learned masks and by the similarity map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protomask.explanations.files import save_galleries, save_pictures
from protomask.explanations.inspection import inspect_prototypes, nearest_maps, similarities_to
from protomask.explanations.predictions import picture_prototypes
from protomask.explanations.reasoning import sum_up_reasoning
from protomask.explanations.records import PrototypePicture
from protomask.run.results import Prototypes
from protomask.run.setup import Localizers, say

if TYPE_CHECKING:
    from protomask.run.opened import Run


def write_pictures(run: Run, localizer: Localizers | None = None, format: str = "png") -> Prototypes:
    """Localise every prototype in its source image and inspect it; write ``prototypes.json``, ``inspection.json`` and
    ``prototypes/``, with a gallery of each class.

    Args:
        run: projected; its data are needed.
        localizer: the run's own by default; the similarity map is always beside it.
        format: of the galleries: png, pdf or svg.
    """
    localizers = run.localizers(localizer, pictures=True)
    setup = run.setup
    pictures = picture_prototypes(
        run.network,
        setup.plain,
        localizers,
        device=setup.device,
        batch_size=setup.batch_size,
        progress=setup.progress,
    )
    return save_inspected(run, pictures, format)


def save_inspected(run: Run, pictures: Sequence[PrototypePicture], format: str = "png") -> Prototypes:
    """Inspect localised prototypes, write them all, and give them back with what was found."""
    similarities = similarities_to(run.network, run.test, run.setup)
    inspections = inspect_prototypes(run.network, pictures, run.setup.plain, run.test, run.setup, similarities)
    pictures = [replace(picture, inspection=inspection) for picture, inspection in zip(pictures, inspections)]
    save_pictures(run.files, pictures, nearest_maps(run.network, inspections, run.test, run.setup))
    reasoning = sum_up_reasoning(run.network, similarities, inspections)
    run.files.write("metrics.json", {**(run.files.read("metrics.json") or {}), "reasoning": reasoning.to_json()})
    say(reasoning.text())
    save_galleries(run.files, pictures, next(iter(pictures[0].maps)), format)
    return Prototypes(pictures)
