"""The files of a run's pictures: ``prototypes.json``, ``inspection.json`` and the folder ``prototypes/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from protomask.errors import InputError
from protomask.explanations.records import Inspection, PrototypePicture, PrototypeRecord
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import write_atomically

FORMATS = ("png", "pdf", "svg")


def save_pictures(run: RunFolder, pictures: Sequence[PrototypePicture], nearest: np.ndarray | None = None) -> None:
    """Writes what :func:`read_pictures` and :func:`read_nearest_maps` read.

    ``prototypes/0007.png`` is the source image of prototype 7, ``maps.npz`` holds each localizer's maps (P, H, W) in
    uint8 (255 is 1.0), ``nearest.npz`` the similarity maps on the nearest test images (P, K, h, w), likewise.
    """
    folder = run / "prototypes"
    maps = {name: np.stack([_bytes(picture.maps[name]) for picture in pictures]) for name in pictures[0].maps}
    write_atomically(folder / "maps.npz", lambda path: _save_npz(path, maps))
    for picture in pictures:
        file = folder / f"{picture.record.prototype:04d}.png"
        write_atomically(file, lambda path, picture=picture: Image.fromarray(picture.image).save(path, format="PNG"))
    if nearest is not None:
        write_atomically(folder / "nearest.npz", lambda path: _save_npz(path, {"similarity": _bytes(nearest)}))
    if all(picture.inspection is not None for picture in pictures):
        run.write("inspection.json", [picture.inspection.to_json() for picture in pictures])
    run.write("prototypes.json", [picture.record.to_json() for picture in pictures])


def read_pictures(run: RunFolder) -> list[PrototypePicture]:
    """What :func:`save_pictures` wrote.

    Raises:
        InputError: it never did, or files are missing or damaged.
    """
    mend = f"protomask project {run.folder}"
    records = [PrototypeRecord.from_json(row) for row in run.read("prototypes.json", needed_by=mend)]
    inspections = [Inspection.from_json(row) for row in run.read("inspection.json") or []]
    if len(inspections) != len(records):
        inspections = [None] * len(records)
    try:
        with np.load(run / "prototypes" / "maps.npz", allow_pickle=False) as stored:
            maps = {name: stored[name].astype(np.float32) / 255 for name in stored.files}
        images = [
            np.asarray(Image.open(run / "prototypes" / f"{record.prototype:04d}.png").convert("RGB"))
            for record in records
        ]
        return [
            PrototypePicture(record, image, {name: found[place] for name, found in maps.items()}, inspection)
            for place, (record, image, inspection) in enumerate(zip(records, images, inspections))
        ]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{run / 'prototypes'} is incomplete ({error}); make it again with: {mend}") from error


def read_nearest_maps(run: RunFolder) -> np.ndarray | None:
    """Similarity maps on the nearest test images, (P, K, h, w) in [0, 1]; None where there are none.

    Raises:
        InputError: the file is damaged.
    """
    path = run / "prototypes" / "nearest.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["similarity"].astype(np.float32) / 255
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again with: protomask project {run.folder}") from error


def save_galleries(
    run: RunFolder, pictures: Sequence[PrototypePicture], localizer: str, kind: str = "png"
) -> list[Path]:
    """``prototypes/gallery_CLASS.png`` (or another of ``FORMATS``): a class's prototypes, for a paper or a talk."""
    from protomask.report import prototype_gallery, save_figure

    by_class: dict[str, list[PrototypePicture]] = {}
    for picture in pictures:
        by_class.setdefault(picture.record.class_name, []).append(picture)
    return [
        save_figure(
            prototype_gallery(members, localizer), run / "prototypes" / f"gallery_{file_name(name)}.{kind}", dpi=110
        )
        for name, members in by_class.items()
    ]


def file_name(name: str) -> str:
    """``name`` with every letter that file systems may dislike as an underscore."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _bytes(maps: np.ndarray) -> np.ndarray:
    return np.rint(maps * 255).astype(np.uint8)


def _save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
