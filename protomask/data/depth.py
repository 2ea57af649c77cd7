"""Pixels of more than 8 bits: which of their values become black and white."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from protomask.errors import InputError

IntensityRange = tuple[float, float]
"""(low, high): the values that become 0 and 255; what lies outside is clipped."""

_MOST = 65_535
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_PHOTOMETRIC = 262


def is_deep(image: Image.Image) -> bool:
    """Tell whether the pixels are numbers of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def deep_values(image: Image.Image) -> np.ndarray:
    """Give the numbers of a deep image (h, w), high ones bright."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode.startswith("I;16"):
        values = _MOST - values.astype(np.int64)
    return values


def deep_to_bytes(values: np.ndarray, intensity_range: IntensityRange | None, path: Path) -> np.ndarray:
    """Scale numbers to uint8: ``intensity_range`` to 0..255, or without one, of whole numbers, 0..65535.

    Raises:
        InputError: without a range, values outside 0..65535, or floats; with one, NaN; names ``path``.
    """
    if intensity_range is not None:
        return scale(values, intensity_range, path)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(
            f"{path}: pixels of type float have no fixed range; convert the image to 8 bits, or give intensity_range"
        )
    least, most = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if least < 0 or most > _MOST:
        raise InputError(
            f"{path}: pixels from {least} to {most}, outside the 0 to {_MOST} of 16 bits; "
            f"give intensity_range=(low, high), or convert the image"
        )
    return (values.astype(np.uint32) >> 8).astype(np.uint8)


def scale(values: np.ndarray, intensity_range: IntensityRange, path: Path) -> np.ndarray:
    """Scale numbers to uint8, ``intensity_range`` to 0..255, rounded; what lies outside is clipped.

    Raises:
        InputError: NaN; names ``path``.
    """
    low, high = intensity_range
    values = values.astype(np.float64)
    if np.isnan(values).any():
        raise InputError(f"{path}: pixels that are no number (NaN); mend or remove the image")
    return np.rint((values.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)


def check_range(given: object) -> IntensityRange | None:
    """Check (low, high), two finite numbers in rising order; None stays None.

    Raises:
        InputError: it is something else.
    """
    if given is None:
        return None
    try:
        low, high = (float(number) for number in given)
    except (TypeError, ValueError):
        low = high = math.nan
    if isinstance(given, str) or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"intensity_range is {given!r}; give two numbers (low, high), low less than high")
    return low, high


def used_share(values: np.ndarray) -> tuple[int, int, float] | None:
    """Give least, greatest, and the share of 0..65535 between them; None for floats and values outside."""
    if not np.issubdtype(values.dtype, np.integer) or not values.size:
        return None
    least, most = int(values.min()), int(values.max())
    return None if least < 0 or most > _MOST else (least, most, (most - least) / _MOST)
