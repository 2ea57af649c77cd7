"""Images that a plain classifier is asked about, as a data set: photographs, a torch Dataset, or one of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from protomask.data import AnnotatedImages
from protomask.data.datasets import from_dataset
from protomask.data.decoding import IntensityRange, decode
from protomask.data.depth import check_range
from protomask.data.geometry import as_boxes
from protomask.data.images import Sample
from protomask.errors import InputError
from protomask.inputs import as_pixels, name_pictures
from protomask.localization.preprocessing import Preprocessing


class Photographs(AnnotatedImages):
    """Give photographs as a data set; those in files are decoded when they are asked for, and not kept.

    Args:
        names: what to call them.
        pictures: a path, or pixels (H, W, 3) uint8, of each.
        intensity_range: of deep greys in files, see :func:`protomask.inputs.read_pictures`.
    """

    def __init__(
        self,
        names: Sequence[str],
        pictures: Sequence[Path | np.ndarray],
        intensity_range: IntensityRange | None = None,
        transform: Any = None,
    ) -> None:
        super().__init__([""], torch.zeros(len(names), dtype=torch.long), names, transform=transform)
        self._pictures, self._range = list(pictures), intensity_range

    def load(self, index: int) -> Sample:
        """Load a picture; it has no boxes."""
        one = self._pictures[index]
        pixels = one if isinstance(one, np.ndarray) else decode(one, intensity_range=self._range)[0]
        image = tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1))
        return {"image": image, "boxes": as_boxes(torch.zeros(0, 4, dtype=torch.float32), tuple(image.shape[-2:]))}

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the file of a picture; none of pixels that were given."""
        one = self._pictures[index]
        return () if isinstance(one, np.ndarray) else (one,)


def open_photographs(given: object, intensity_range: IntensityRange | None = None) -> Photographs:
    """Open photographs; every file is read once, so that a broken one is an error before anything is computed.

    Args:
        given, intensity_range: see :func:`protomask.inputs.read_pictures`.

    Raises:
        InputError: what cannot be read, and why; nothing to read.
    """
    levels = check_range(intensity_range)
    names: list[str] = []
    pictures: list[Path | np.ndarray] = []
    for name, one in name_pictures(given):
        names.append(name)
        if isinstance(one, (str, os.PathLike)):
            decode(Path(one), _smallest, levels)
            pictures.append(Path(one))
        else:
            pictures.append(as_pixels(one, name, levels))
    return Photographs(names, pictures, levels)


def _smallest(size: tuple[int, int]) -> tuple[tuple[int, int, int, int], int]:
    """Choose the whole picture as small as JPEG allows, which reads the whole file in a fraction of the time."""
    return (0, 0, *size), 8


def as_data_set(
    images: object, prepare: Preprocessing, intensity_range: IntensityRange | None = None
) -> AnnotatedImages:
    """Make a data set of photographs, a torch Dataset or one of our data sets, with images as a model expects them.

    Raises:
        InputError: what cannot be read.
    """
    if intensity_range is not None and isinstance(images, (AnnotatedImages, Dataset)):
        raise InputError(
            "intensity_range is for photographs; a data set reads its own: open it with one, for example by "
            'load_data("folder", root, intensity_range=...)'
        )
    if isinstance(images, AnnotatedImages):
        data = images
    elif isinstance(images, Dataset):
        data = from_dataset(images, "images", progress=False)
    else:
        data = open_photographs(images, intensity_range)
    return data.with_transform(prepare.transform())
