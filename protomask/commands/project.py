"""``protomask project``: pictures of all prototypes, localised by learned masks and by the similarity map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from protomask.commands.setup import OpenRun, localizers_for_pictures, open_run, say
from protomask.errors import InputError
from protomask.explaining import picture_prototypes
from protomask.explanation import PrototypePicture, PrototypeRecord
from protomask.run import Run
from protomask.training.checkpoint import write_atomically


def project_command(folder: str, localizer: str | None, device: str | None, root: str | None, progress: bool = True) -> int:
    opened = open_run(folder, device=device, root=root, progress=progress)
    write_pictures(opened, localizer or opened.options.localizer)
    say(f"protomask: pictures in {opened.run / 'prototypes'}")
    return 0


def write_pictures(opened: OpenRun, words: str) -> list[PrototypePicture]:
    """Localises every prototype in its source image; writes ``prototypes.json`` and ``prototypes/``.

    ``prototypes/0007.png`` is the source image of prototype 7, ``maps.npz`` holds each localizer's maps (P, H, W) in
    uint8 (255 is 1.0), and ``gallery_CLASS.png`` shows a class's prototypes for a paper or a talk.
    """
    localizers = localizers_for_pictures(words)
    setup = opened.setup
    pictures = picture_prototypes(opened.network, setup.plain, localizers, device=setup.device,
                                  batch_size=setup.batch_size, progress=setup.progress)
    folder = opened.run / "prototypes"
    maps = {name: np.stack([np.rint(picture.maps[name] * 255).astype(np.uint8) for picture in pictures]) for name in localizers}
    write_atomically(folder / "maps.npz", lambda path: _save_npz(path, maps))
    for picture in pictures:
        file = folder / f"{picture.record.prototype:04d}.png"
        write_atomically(file, lambda path, picture=picture: Image.fromarray(picture.image).save(path, format="PNG"))
    _write_galleries(folder, pictures, next(iter(localizers)))
    opened.run.write("prototypes.json", [picture.record.to_json() for picture in pictures])
    return pictures


def read_pictures(run: Run) -> list[PrototypePicture]:
    """What :func:`write_pictures` wrote.

    Raises:
        InputError: it never did, or files are missing or damaged.
    """
    mend = f"protomask project {run.folder}"
    records = [PrototypeRecord.from_json(row) for row in run.read("prototypes.json", needed_by=mend)]
    try:
        with np.load(run / "prototypes" / "maps.npz") as stored:
            maps = {name: stored[name].astype(np.float32) / 255 for name in stored.files}
        images = [np.asarray(Image.open(run / "prototypes" / f"{record.prototype:04d}.png").convert("RGB")) for record in records]
    except (OSError, ValueError) as error:
        raise InputError(f"{run / 'prototypes'} is incomplete ({error}); make it again with: {mend}") from error
    return [PrototypePicture(record, image, {name: found[place] for name, found in maps.items()})
            for place, (record, image) in enumerate(zip(records, images))]


def _save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def _write_galleries(folder: Path, pictures: list[PrototypePicture], localizer: str) -> None:
    from protomask.report.figures import prototype_gallery

    by_class: dict[str, list[PrototypePicture]] = {}
    for picture in pictures:
        by_class.setdefault(picture.record.class_name, []).append(picture)
    for name, members in by_class.items():
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
        prototype_gallery(members, localizer).savefig(folder / f"gallery_{safe}.png", dpi=110)
