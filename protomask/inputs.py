"""Read pictures as people have them: paths, folders, PIL images, arrays and tensors become pixels."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protomask.data.decoding import IntensityRange, decode
from protomask.data.depth import check_range
from protomask.data.folder_files import SUFFIXES, files_below, sort_out
from protomask.data.pictures import as_picture
from protomask.data.turning import turn_of, turn_planes
from protomask.errors import InputError
from protomask.own_pictures import own_pictures

_LOG = logging.getLogger(__name__)


class Picture(NamedTuple):
    """A photograph as it was given."""

    name: str
    """its path, or a number where it has none"""
    pixels: np.ndarray
    """(H, W, 3) uint8"""


def read_pictures(given: object, intensity_range: IntensityRange | None = None) -> list[Picture]:
    """Read one picture or many.

    Args:
        given: a path, a folder (all its pictures, sorted), a PIL image, an array (H, W), (H, W, 3) or (H, W, 4) of
            uint8 or of floats in [0, 1], a tensor (C, H, W), a batch of either, or a list of any of these.
        intensity_range: (low, high), the values that become black and white in grey images of more than 8 bits: files
            (16-bit PNG and TIFF, DICOM) and PIL images.

    Raises:
        InputError: what cannot be read, and why; nothing to read.
    """
    levels = check_range(intensity_range)
    return [Picture(name, as_pixels(one, name, levels)) for name, one in name_pictures(given)]


def name_pictures(given: object) -> list[tuple[str, object]]:
    """Name each picture, and open none: its path, or "image" and its number. Folders are searched through and through.

    Raises:
        InputError: no picture; a file or folder is missing, or a folder has none.
    """
    found = [(name or f"image {place}", one) for place, (name, one) in enumerate(_each(given))]
    if not found:
        raise InputError("there are no pictures to look at; give a path, a picture, or a list of them")
    return found


def are_several(given: object) -> bool:
    """Tell whether a folder, a batch or any other number of pictures was given, and not one alone; reads nothing."""
    if isinstance(given, (str, os.PathLike)):
        return Path(given).is_dir()
    if isinstance(given, (Tensor, np.ndarray)):
        return given.ndim == 4
    if isinstance(given, (Picture, Image.Image)):
        return False
    return isinstance(given, Sequence) or (hasattr(given, "__iter__") and not hasattr(given, "shape"))


def find_pictures(folder: Path, output: Path | None = None) -> list[Path]:
    """Find the pictures below a folder, sorted; hidden ones are left out, and masks (``NAME_mask.png``).

    Panels and overlays that protomask wrote there are left out, too; how many is logged.

    Args:
        folder: to search through and through.
        output: where ``protomask localize`` writes, see :func:`protomask.own_pictures.own_pictures`.

    Raises:
        InputError: there are none.
    """
    pictures, masks = _sort_out_each(files_below(folder))
    is_own = own_pictures(output)
    found = [path for path in pictures if not is_own(path)]
    own = len(pictures) - len(found)
    if not found:
        but = " but panels and overlays that protomask wrote" if own else " but masks" if masks else ""
        known = ", ".join(SUFFIXES)
        raise InputError(f"{folder} holds no pictures{but} ({known}); give files, or a folder that has some")
    if own:
        _LOG.info("%s of %s, written by protomask, %s left out", own, folder, "is" if own == 1 else "are")
    return found


def as_pixels(one: object, what: str = "the picture", intensity_range: IntensityRange | None = None) -> np.ndarray:
    """Turn one picture into (H, W, 3) uint8.

    Args:
        one: a path, or anything that :func:`protomask.data.pictures.as_picture` takes.
        what: names the picture in errors.
        intensity_range: of deep greys in files and PIL images, see :func:`protomask.data.decoding.decode`.

    Raises:
        InputError: it is none of these, empty, or its values have another range.
    """
    if isinstance(one, (str, os.PathLike)):
        return decode(Path(one), intensity_range=intensity_range)[0]
    pixels = turn_planes(as_picture(one, what, intensity_range), turn_of(one, what))
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _sort_out_each(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Tell pictures from masks folder by folder, whose name may be a class called with_mask."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    sorted_out = [sort_out(own, os.path.basename(os.path.abspath(folder))) for folder, own in folders.items()]
    pictures, masks = (sorted(path for each in sorted_out for path in each[side]) for side in (0, 1))
    return pictures, masks


def _each(given: object) -> Iterator[tuple[str | None, object]]:
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if not path.exists() and re.match(r"[a-z][a-z0-9+.-]+:/", os.fspath(given), re.IGNORECASE):
            raise InputError(
                f"{os.fspath(given)} is an address, and pictures are not fetched; save it and give the file"
            )
        if not path.exists():
            raise InputError(f"{path}: no such picture or folder")
        for each in find_pictures(path) if path.is_dir() else [path]:
            yield str(each), each
    elif isinstance(given, (bytes, bytearray, Mapping)):
        mend = "PIL.Image.open(io.BytesIO(...))" if not isinstance(given, Mapping) else "a list of its values"
        raise InputError(f"pictures are of type {type(given).__name__}; give {mend}")
    elif isinstance(given, Picture):
        yield given.name, given.pixels
    elif are_several(given):
        # Of a batch each is a picture, whatever its shape.
        for one in cast(Iterable[object], given):
            yield from [(None, one)] if isinstance(given, (Tensor, np.ndarray)) else _each(one)
    else:
        yield None, given


def as_batch(pixels: np.ndarray, transform) -> Tensor:
    """Take pixels (H, W, 3) uint8 through the transform of a data set: (1, 3, H', W'), normalised."""
    from torchvision import tv_tensors

    image = tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1))
    boxes = tv_tensors.BoundingBoxes(
        torch.zeros(0, 4, dtype=torch.float32), format="XYXY", canvas_size=tuple(image.shape[-2:])
    )
    found = transform({"image": image, "boxes": boxes, "label": 0, "position": 0})["image"]
    return found.as_subclass(Tensor)[None]
