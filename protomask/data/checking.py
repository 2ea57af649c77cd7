"""Every problem of a data set at once, before hours of training are spent on it."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from protomask.data import find_data, load_data
from protomask.data.arrow_images import ArrowImages
from protomask.data.cache import CAP
from protomask.data.files import FileImages
from protomask.data.images import AnnotatedImages, Splits
from protomask.data.problems import collecting
from protomask.errors import InputError

# Photographs are decoded as small as JPEG allows: that reads the whole file all the same. What is given to other checks
# is not, since small boxes would get lost.
_SIDE = 16
_LOG = logging.getLogger("protomask")


@dataclass(frozen=True)
class Checked:
    """Hold what a look at a whole data set found."""

    problems: list[str]
    """each in one line that begins with the file (and its line) where it is"""
    images: int
    """that were decoded"""
    splits: Splits | None
    """None where the data set could not be opened; what problems are of is missing in it, or empty"""


def check_data(
    name: str,
    root: str | Path | None = None,
    *,
    crop: bool | None = None,
    validation: float = 0.1,
    image_size: int | None = None,
    others: dict[str, Any] | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Checked:
    """Open a data set and decode every image and mask in it; remarks on the data are logged.

    A file of annotations that cannot be read at all, or a folder that is none, hides what it says of the images.

    Args:
        name, root, crop, validation, others: as :func:`protomask.data.load_data` takes them.
        image_size: side of the network's input in pixels, at which the splits are opened as for a training; files are
            decoded as small as possible all the same.
        workers: threads that decode; all processors by default.
        progress: shows a bar.

    Raises:
        InputError: an unknown name.
    """
    cache = inspect.signature(find_data(name)).parameters.get("cache")
    # Nothing has to be kept in memory (for parts, the option says whether to keep files).
    others = {**(others or {}), **({"cache": 0} if cache is not None and cache.default == CAP else {})}
    checked = 0
    with collecting() as found, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it will be one of the problems
        try:
            splits = load_data(name, root, crop=crop, validation=validation, image_size=image_size or _SIDE, **others)
        except InputError as error:
            return Checked(list(dict.fromkeys([*found, " ".join(str(error).split())])), 0, None)
        _LOG.info(f"data: {splits.text()}")
        for remark in splits.remarks():
            _LOG.info(remark)
        parts = [_decoded_small(part) for part in (splits.train, splits.validation, splits.test)]
        for problems in _decode(parts, workers or os.cpu_count() or 1, progress):
            found += problems
            checked += 1
    return Checked(list(dict.fromkeys(found)), checked, splits)


def _decoded_small(data: AnnotatedImages) -> AnnotatedImages:
    """Give the same data with pictures in files, or in cells of a table, as small as they can be decoded."""
    if not isinstance(data, FileImages | ArrowImages):
        return data
    small = copy.copy(data)
    small.image_size = _SIDE
    return small


def _decode(parts: list[AnnotatedImages], workers: int, progress: bool) -> Iterator[list[str]]:
    """List the problems of each image, in order."""
    places = [(data, position) for data in parts for position in range(len(data))]
    pool = ThreadPoolExecutor(workers)
    try:
        yield from tqdm(pool.map(_problems, places), "check", len(places), leave=False, disable=not progress)
    finally:
        pool.shutdown(cancel_futures=True)


def _problems(place: tuple[AnnotatedImages, int]) -> list[str]:
    data, position = place
    if isinstance(data, FileImages):
        return data.problems(data.stored(position))
    try:
        data.read(position)
    except InputError as error:
        return [" ".join(str(error).split())]
    return []
