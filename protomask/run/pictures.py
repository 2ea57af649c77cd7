"""Pictures of all prototypes of a run, localised by learned masks and by the similarity map."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from protomask import distributed
from protomask.errors import InputError
from protomask.explanations.files import read_pictures, save_galleries, save_pictures
from protomask.explanations.inspection import inspect_prototypes, nearest_maps, similarities_to
from protomask.explanations.reasoning import sum_up_reasoning
from protomask.explanations.records import PrototypePicture
from protomask.explanations.sources import share_pictures
from protomask.given import short
from protomask.localizers.base import Localizer
from protomask.localizers.several import Localizers
from protomask.run.results import Prototypes
from protomask.run.setup import say

if TYPE_CHECKING:
    from protomask.run.opened import Run

PIECES = "prototypes/pieces"
"""folder of the maps that are done, until all are; a call that was stopped goes on with them"""


def write_pictures(run: Run, localizer: Localizers | None = None, format: str = "png") -> Prototypes:
    """Localise every prototype in its source image and inspect it; write ``prototypes.json``, ``inspection.json`` and
    ``prototypes/``, with a gallery of each class.

    Of several processes each does its share. A call that was stopped finds the maps that were done.

    Args:
        run: projected; its data are needed.
        localizer: the run's own by default; the similarity map is always beside it.
        format: of the galleries: png, pdf or svg.
    """
    localizers = run.localizers(localizer, pictures=True)
    for line in _not_made_by_name(run, localizers):
        say(line)
    setup, pieces = run.setup, run.files / PIECES
    pictures = share_pictures(
        run.network,
        setup.plain,
        localizers,
        pieces,
        device=setup.device,
        batch_size=setup.batch_size,
        progress=setup.progress,
    )
    save_inspected(run, pictures, format)
    distributed.only_first(lambda: shutil.rmtree(pieces, ignore_errors=True))
    return Prototypes(read_pictures(run.files))


def _not_made_by_name(run: Run, localizers: Mapping[str, Localizer]) -> list[str]:
    """Say of which localizers, given as objects, other commands make another one from the name, or none."""
    lines = []
    for name, localizer in localizers.items():
        try:
            (usual,) = run.localizers(name).values()
        except InputError:
            lines.append(
                f"pictures by {name!r}, a localizer given in Python: explain, report, prune and refine know no such "
                "name, and need pictures by one that they know, for example localizer='mdm'"
            )
            continue
        if repr(usual) != repr(localizer):
            lines.append(
                f"pictures by {short(localizer)} under the name {name!r}: explain, report, prune and refine take "
                f"{name!r} with its usual settings; give settings in words, for example localizer='mdm:damping=1'"
            )
    return lines


def save_inspected(run: Run, pictures: Sequence[PrototypePicture], format: str = "png") -> Prototypes:
    """Inspect localised prototypes, write them all, and give them back with what was found."""
    similarities = similarities_to(run.network, run.test, run.setup)
    inspections = inspect_prototypes(run.network, pictures, run.setup.plain, run.test, run.setup, similarities)
    pictures = [picture.changed(inspection=inspection) for picture, inspection in zip(pictures, inspections)]
    nearest = nearest_maps(run.network, inspections, run.test, run.setup)
    # What says that there are pictures goes first and comes last: whoever is stopped between makes all of them anew.
    distributed.only_first(lambda: (run.files / "prototypes.json").unlink(missing_ok=True))
    save_galleries(run.files, pictures, next(iter(pictures[0].maps)), format)
    reasoning = sum_up_reasoning(run.network, similarities, inspections)
    distributed.only_first(
        lambda: run.files.write(
            "metrics.json", {**(run.files.read("metrics.json") or {}), "reasoning": reasoning.to_json()}
        )
    )
    save_pictures(run.files, pictures, nearest, run.network)
    say(reasoning.text())
    return Prototypes(pictures)
