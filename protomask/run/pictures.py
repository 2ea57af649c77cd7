"""``protomask project``: pictures of all prototypes, localised by learned masks and by the similarity map."""

from __future__ import annotations

from dataclasses import replace

from protomask.explanations.files import save_galleries, save_pictures
from protomask.explanations.inspection import inspect_prototypes, nearest_maps
from protomask.explanations.predictions import picture_prototypes
from protomask.explanations.records import PrototypePicture
from protomask.run.setup import OpenRun, localizers_for_pictures, open_run, say


def project_command(
    folder: str, localizer: str | None, kind: str, device: str | None, root: str | None, progress: bool = True
) -> int:
    """Writes the pictures; ``kind`` is the format of the galleries."""
    opened = open_run(folder, device=device, root=root, progress=progress)
    pictures = write_pictures(opened, localizer or opened.options.localizer, kind)
    say(f"protomask: pictures in {opened.run / 'prototypes'}")
    say(f"protomask: {flags_in_words(pictures)}")
    return 0


def write_pictures(opened: OpenRun, words: str, kind: str = "png") -> list[PrototypePicture]:
    """Localises every prototype in its source image and inspects it; writes ``prototypes.json``, ``inspection.json``
    and ``prototypes/``, with a gallery of each class."""
    localizers = localizers_for_pictures(words)
    setup = opened.setup
    pictures = picture_prototypes(
        opened.network,
        setup.plain,
        localizers,
        device=setup.device,
        batch_size=setup.batch_size,
        progress=setup.progress,
    )
    return save_inspected(opened, pictures, kind)


def save_inspected(opened: OpenRun, pictures: list[PrototypePicture], kind: str = "png") -> list[PrototypePicture]:
    """Inspects localised prototypes, writes them all, and gives them back with what was found."""
    inspections = inspect_prototypes(opened.network, pictures, opened.setup.plain, opened.test, opened.setup)
    pictures = [replace(picture, inspection=inspection) for picture, inspection in zip(pictures, inspections)]
    save_pictures(opened.run, pictures, nearest_maps(opened.network, inspections, opened.test, opened.setup))
    save_galleries(opened.run, pictures, next(iter(pictures[0].maps)), kind)
    return pictures


def flags_in_words(pictures: list[PrototypePicture]) -> str:
    """How many prototypes are flagged, and what to do about it."""
    flags = [flag for picture in pictures for flag in picture.inspection.flags]
    if not flags:
        return f"no background and no duplicates among {len(pictures)} prototypes"
    found = " and ".join(f"{flags.count(flag)} {flag}" for flag in dict.fromkeys(flags))
    return f"{found} of {len(pictures)} prototypes are flagged; protomask prune removes them"
