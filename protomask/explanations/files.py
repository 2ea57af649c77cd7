"""The files of a run's pictures: ``prototypes.json``, ``inspection.json`` and the folder ``prototypes/``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from protomask import distributed
from protomask.data.decoding import decode
from protomask.errors import InputError
from protomask.explanations.belonging import PROTOTYPES, check_belonging, prototypes_digest
from protomask.explanations.empty_image import empty_similarities
from protomask.explanations.on_demand import PictureOnDemand
from protomask.explanations.records import Inspection, PrototypePicture, PrototypeRecord
from protomask.files import content_digest, file_name, read_bytes, write_atomically
from protomask.options import RANGES
from protomask.prototype_network import PrototypeNetwork
from protomask.run_folder import RunFolder
from protomask.schema import check
from protomask.suggested import command

FORMATS = ("png", "pdf", "svg")
CHECKSUMS = "prototypes/files.json"
"""name -> digest of each file beside it that a run reads again, and of the prototypes that they show"""

_HEADS = 1024
"""bytes that a file within a zip file may need beside its numbers"""
_LARGEST = int(RANGES["image_size"][1])
"""pixels; no network takes larger images"""
_MOST_CELLS = 512 * 512
"""of a similarity map"""
_DECODED = 64
"""images that stay in memory"""


def save_pictures(
    run: RunFolder,
    pictures: Sequence[PrototypePicture],
    nearest: np.ndarray | None = None,
    network: PrototypeNetwork | None = None,
) -> None:
    """Write what :func:`read_pictures` and :func:`read_nearest_maps` read.

    ``prototypes/0007.png`` is the source image of prototype 7 in its own proportions, ``maps.npz`` each localizer's
    maps (P, h, w) in uint8 (255 is 1.0), ``nearest.npz`` the similarity maps on the nearest test images (P, K, h, w),
    likewise, and ``files.json`` the checksums of all these, and which prototypes of ``network`` they show. Several
    processes share the images; the first writes all else.
    """
    folder = run / "prototypes"
    # Written last: until then the run has no pictures, rather than old words for new ones.
    distributed.only_first(lambda: (run / "prototypes.json").unlink(missing_ok=True))

    def write(name: str, content: Callable[[Path], None]) -> tuple[str, str]:
        write_atomically(folder / name, content)
        return name, content_digest(folder / name).hex()

    def save_image(picture: PrototypePicture) -> tuple[str, str]:
        return write(f"{picture.record.prototype:04d}.png", partial(_save_png, picture.image))

    images = distributed.share_out(pictures, save_image)

    def save_rest() -> None:
        found = [write("maps.npz", partial(_save_npz, arrays=_all_maps(pictures))), *images]
        if nearest is not None:
            found.append(write("nearest.npz", partial(_save_npz, arrays={"similarity": _bytes(nearest)})))
        shown = None if network is None else prototypes_digest(network)
        run.write(CHECKSUMS, {**dict(found), **({} if shown is None else {PROTOTYPES: shown})})
        inspections = [picture.inspection for picture in pictures if picture.inspection is not None]
        if len(inspections) == len(pictures):
            run.write("inspection.json", [inspection.to_json() for inspection in inspections])
        run.write("prototypes.json", [picture.record.to_json() for picture in pictures])

    distributed.only_first(save_rest)


def _all_maps(pictures: Sequence[PrototypePicture]) -> dict[str, np.ndarray]:
    """Collect the maps (P, h, w) of each localizer in uint8."""
    first = pictures[0].maps
    found = {name: np.empty((len(pictures), *each.shape), np.uint8) for name, each in first.items()}
    for place, picture in enumerate(pictures):
        maps = picture.maps
        for name, rows in found.items():
            rows[place] = _bytes(maps[name])
    return found


def read_pictures(run: RunFolder, network: PrototypeNetwork | None = None) -> list[PrototypePicture]:
    """Read what :func:`save_pictures` wrote; an image is decoded when something looks at it.

    Args:
        network: that they shall explain.

    Raises:
        InputError: it never did, files are missing or damaged, or they are of other prototypes than ``network``'s.
    """
    mend = command("project", run.folder)
    records = [PrototypeRecord.from_json(row) for row in _rows(run, "prototypes.json", PrototypeRecord, mend)]
    inspected = [Inspection.from_json(row) for row in _rows(run, "inspection.json", Inspection, mend)]
    inspections: list[Inspection | None] = [None] * len(records)
    if [each.prototype for each in records] != list(range(len(records))):
        raise _damaged(run / "prototypes.json", "prototypes are not numbered 0, 1, 2, ...", run)
    if [each.prototype for each in inspected] == list(range(len(records))):
        inspections = [*inspected]
    checksums = _checksums(run)
    if network is not None:
        check_belonging(run, records, checksums.get(PROTOTYPES), network)
        if any(record.empty_similarity is None for record in records):  # of a run of before
            empty = empty_similarities(network)
            records = [replace(record, empty_similarity=value) for record, value in zip(records, empty)]

    @lru_cache(maxsize=_DECODED)
    def image(prototype: int) -> np.ndarray:
        try:
            pixels = decode(run / "prototypes" / f"{prototype:04d}.png")[0]
        except InputError as error:
            raise InputError(f"{error}; make it again with: {mend}") from error
        pixels.flags.writeable = False  # others will see the same
        return pixels

    for record in records:
        path = run / "prototypes" / f"{record.prototype:04d}.png"
        _check_unchanged(path, checksums, run)
        if path.name not in checksums:
            image(record.prototype)
    path = run / "prototypes" / "maps.npz"
    _check_unchanged(path, checksums, run)
    names = set(records[0].boxes)
    maps = _read_npz(path, run, len(names) * len(records) * _map_cells(run))
    if not names <= maps.keys() or any(set(record.boxes) != names for record in records):
        raise _damaged(path, "its localizers are not those of prototypes.json", run)
    shape = next(iter(maps.values())).shape[1:]

    def of(place: int) -> dict[str, np.ndarray]:
        return {name: _unit(found[place]) for name, found in maps.items()}

    for name, found in maps.items():
        if found.ndim != 3 or found.shape != (len(records), *shape):
            raise _damaged(path, f"the maps of {name} are {found.shape}, not one for each picture", run)
    return [
        PictureOnDemand(record, partial(image, record.prototype), partial(of, place), inspection)
        for place, (record, inspection) in enumerate(zip(records, inspections))
    ]


def _checksums(run: RunFolder) -> dict[str, str]:
    """Read the checksums; runs of before have none."""
    return run.read(CHECKSUMS, command("project", run.folder)) if run.has(CHECKSUMS) else {}


def _check_unchanged(path: Path, checksums: dict[str, str], run: RunFolder) -> None:
    digest = content_digest(path, f"make it again with: {command('project', run.folder)}").hex()
    if checksums.get(path.name, digest) != digest:
        raise _damaged(path, "its checksum differs: it changed after it was written", run)


def _rows(run: RunFolder, name: str, kind: Any, mend: str) -> list[dict]:
    needed = mend if name == "prototypes.json" or run.has(name) else None
    rows = run.read(name, needed_by=needed) or []
    try:
        check(rows, list[kind])
    except ValueError as error:
        raise _damaged(run / name, str(error), run) from error
    return rows


def _map_cells(run: RunFolder) -> int:
    """Count the cells of a map: those of the network's input, whatever the size of the photographs."""
    settings = (run.read("model.json") or {}).get("settings", {})
    size = settings.get("image_size")
    return size**2 if isinstance(size, int) and 0 < size <= _LARGEST else _LARGEST**2


def _read_npz(path: Path, run: RunFolder, most: int) -> dict[str, np.ndarray]:
    """Read maps by name, uint8 (255 is 1.0), of at most ``most`` numbers together: a small zip file can hold any."""
    data = io.BytesIO(read_bytes(path, f"make it again with: {command('project', run.folder)}"))
    try:
        with zipfile.ZipFile(data) as archive:  # numpy itself does not compare all checksums
            if sum(entry.file_size for entry in archive.infolist()) > most + _HEADS * len(archive.infolist()):
                raise ValueError("more in it than these maps need")
            wrong = archive.testzip()
        if wrong is not None:
            raise ValueError(f"the checksum of {wrong} differs")
        data.seek(0)
        with np.load(data, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        if not found or any(each.dtype != np.uint8 or each.size == 0 for each in found.values()):
            raise ValueError("something else than maps is in it")
    except Exception as error:  # zip, zlib and numpy raise many kinds for damaged files
        raise _damaged(path, " ".join(str(error).split())[:200] or type(error).__name__, run) from error
    return found


def _unit(maps: np.ndarray) -> np.ndarray:
    """Give maps of uint8 as float32 in [0, 1]."""
    return maps.astype(np.float32) / 255


def _damaged(path: Path, what: str, run: RunFolder) -> InputError:
    return InputError(f"{path} is damaged ({what}); make it again with: {command('project', run.folder)}")


def read_nearest_maps(run: RunFolder) -> np.ndarray | None:
    """Read similarity maps on the nearest test images, (P, K, h, w) in [0, 1]; None where there are none.

    Raises:
        InputError: the file is damaged.
    """
    if not run.has("prototypes/nearest.npz") or not run.has("inspection.json"):
        return None
    path = run / "prototypes" / "nearest.npz"
    _check_unchanged(path, _checksums(run), run)
    rows = _rows(run, "inspection.json", Inspection, command("project", run.folder))
    most = _MOST_CELLS * sum(max(1, len(row["nearest"])) for row in rows)
    found = _read_npz(path, run, most).get("similarity")
    if found is None or found.ndim != 4 or len(found) != len(rows):
        raise _damaged(path, "not one row of maps for each prototype", run)
    if any(len(row["nearest"]) > found.shape[1] for row in rows):
        raise _damaged(path, "fewer maps than nearest images in inspection.json", run)
    return _unit(found)


def save_galleries(
    run: RunFolder, pictures: Sequence[PrototypePicture], localizer: str, kind: str = "png"
) -> list[Path]:
    """Write ``prototypes/gallery_CLASS.png`` (or another of ``FORMATS``): a class's prototypes.

    Galleries of before in other formats are removed, since they show other pictures. Several processes share the
    classes.
    """
    from protomask.report import prototype_gallery, save_figure

    by_class: dict[str, list[PrototypePicture]] = {}
    for picture in pictures:
        by_class.setdefault(picture.record.class_name, []).append(picture)

    def save(name: str) -> Path:
        path = run / "prototypes" / f"gallery_{file_name(name)}.{kind}"
        saved = save_figure(prototype_gallery(by_class[name], localizer, classes=list(by_class)), path, dpi=110)
        for other in FORMATS:
            if other != kind:
                (path.parent / f"gallery_{file_name(name)}.{other}").unlink(missing_ok=True)
        return saved

    return distributed.share_out(list(by_class), save)


def _bytes(maps: np.ndarray) -> np.ndarray:
    return np.rint(maps * 255).astype(np.uint8)


def _save_png(image: np.ndarray, path: Path) -> None:
    Image.fromarray(image).save(path, format="PNG")


def _save_npz(path: Path, arrays: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
