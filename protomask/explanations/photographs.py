"""Photographs as they are shown: in their own proportions, not squashed to the network's input, at a bounded size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protomask.data import AnnotatedImages

LONGEST = 640
"""pixels of the longer side at most, so that a run's folder and its page stay small"""


def photograph(pixels: np.ndarray, longest: int = LONGEST) -> np.ndarray:
    """Shrink (H, W, 3) uint8 until no side is longer than ``longest``, keeping its proportions; what is smaller stays.

    >>> photograph(np.zeros((100, 400, 3), np.uint8), 200).shape
    (50, 200, 3)
    """
    if max(pixels.shape[:2]) <= longest:
        return np.ascontiguousarray(pixels)
    photo = Image.fromarray(np.ascontiguousarray(pixels))
    photo.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(photo)


def photographs(data: AnnotatedImages, positions: Iterable[int], longest: int = LONGEST) -> list[np.ndarray]:
    """Read the images at ``positions`` as they are stored (cropped, where the data are), bounded; (H, W, 3) uint8."""
    return [photograph(_pixels(data.read(position)["image"]), longest) for position in positions]


def _pixels(image: Tensor) -> np.ndarray:
    image = image.as_subclass(Tensor).permute(1, 2, 0)
    if image.is_floating_point():  # a data set may keep [0, 1]
        image = (255 * image.clamp(0, 1)).round().to(torch.uint8)
    return image.numpy()
