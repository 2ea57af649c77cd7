"""Pictures and masks that cannot be read, found before a training: its test images are read only after all epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protomask.data.decoding import decode
from protomask.data.depth import IntensityRange, is_deep
from protomask.data.dicom import is_dicom
from protomask.data.duplicates import were_decoded
from protomask.data.files import FileImages, divisor_for
from protomask.data.images import Splits
from protomask.data.masks import read_mask
from protomask.data.raster import open_raster, upright_size
from protomask.data.remembered import find_out, recall
from protomask.errors import InputError

# Photographs are decoded as small as JPEG allows: that reads the whole file all the same.
_SIDE = 16

Size = tuple[int, int]


def require_readable(splits: Splits, *, progress: bool = False) -> None:
    """Check that each picture and mask can be decoded, and that masks and boxes fit their pictures.

    A file is decoded once, in threads, and not at all where a thumbnail of it is known; what can be read is remembered
    in the user's cache. Images that are read from no files of ours (Datasets, tables) are left to whoever reads them.

    Raises:
        InputError: some cannot, or do not fit; names the first and counts the others.
    """
    groups: dict[tuple, list[tuple[FileImages, int]]] = {}
    for data in (splits.train, splits.validation, splits.test):
        if isinstance(data, FileImages):
            own = groups.setdefault((data.intensity_range, data.mask_above), [])
            own += [(data, data.stored(position)) for position in range(len(data))]
    wrong = [each for (levels, above), own in groups.items() for each in _suspects(own, levels, above, progress)]
    for place, (data, index) in enumerate(wrong):
        problems = data.problems(index)
        if problems:
            others = len(wrong) - place - 1
            more = f" ({others} more such pictures or masks; protomask check lists all)" if others else ""
            raise InputError(problems[0] + more)


def _suspects(
    images: Sequence[tuple[FileImages, int]], levels: IntensityRange | None, above: int, progress: bool
) -> list[tuple[FileImages, int]]:
    """List the images that could not be read, or whose masks or boxes do not fit."""
    files = [data.files(index) for data, index in images]
    sizes = _picture_sizes([path for path, *_ in files], levels, progress)
    masks = _mask_sizes([path for _, *own in files for path in own], above, progress)
    return [
        (data, index)
        for (data, index), (path, *own) in zip(images, files)
        if (size := sizes.get(path)) is None
        or any(masks.get(mask) != size for mask in own)
        or data.outside(index, size)
    ]


def _picture_sizes(paths: Sequence[Path], levels: IntensityRange | None, progress: bool) -> dict[Path, Size | None]:
    """Give (width, height) of each picture that can be decoded, None of others."""
    named = "decoded" if levels is None else f"decoded-{levels[0]:g}-{levels[1]:g}"
    new = levels is None and not recall(paths, named).keys() >= set(paths)
    thumbnails = were_decoded(paths) if new else set()

    def find(path: Path) -> str | None:
        size = _size_of_8_bits(path) if path in thumbnails else None
        if size is not None:
            return _told(size)
        try:
            return _told(decode(path, lambda size: ((0, 0, *size), divisor_for(size, _SIDE)), levels)[1])
        except InputError:
            return None

    return _read(find_out(paths, named, find, progress=progress))


def _size_of_8_bits(path: Path) -> Size | None:
    """Give the size of a picture by its header; None of more bits, which have thumbnails without a range, too."""
    if is_dicom(path):
        return None
    try:
        with open_raster(path) as image:
            return None if is_deep(image) else upright_size(image)
    except InputError:
        return None


def _mask_sizes(paths: Sequence[Path], above: int, progress: bool) -> dict[Path, Size | None]:
    def find(path: Path) -> str | None:
        try:
            height, width = read_mask(path, above).shape
            return _told((width, height))
        except InputError:
            return None

    return _read(find_out(paths, f"masks-above-{above}", find, progress=progress))


def _told(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _read(found: dict[Path, str | None]) -> dict[Path, Size | None]:
    sizes: dict[Path, Size | None] = {}
    for path, text in found.items():
        words = text.split(" x ") if text else []
        sizes[path] = (int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdecimal, words)) else None
    return sizes
