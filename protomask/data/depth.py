"""Pixels of more than 8 bits: which of their values become black and white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from protomask.data.raster import ImageFile, open_raster
from protomask.errors import InputError

IntensityRange = tuple[float, float]
"""(low, high): the values that become 0 and 255; what lies outside is clipped."""

_MOST = 65_535
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_PHOTOMETRIC = 262
_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".ppm")
_LOOKED_AT = 16


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


def deep_to_bytes(values: np.ndarray, intensity_range: IntensityRange | None, path: ImageFile | str) -> np.ndarray:
    """Scale numbers to uint8: ``intensity_range`` to 0..255, or without one, of whole numbers, 0..65535.

    Raises:
        InputError: without a range, values outside 0..65535, or floats; with one, NaN; names ``path``.
    """
    if intensity_range is not None:
        return scale(values, intensity_range, path)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(
            f"{path}: pixels of type float have no fixed range; convert the image to 8 bits, or give "
            "intensity_range=(low, high)"
        )
    least, most = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if least < 0 or most > _MOST:
        raise InputError(
            f"{path}: pixels from {least} to {most}, outside the 0 to {_MOST} of 16 bits; "
            f"give intensity_range=(low, high), or convert the image"
        )
    return (values.astype(np.uint32) >> 8).astype(np.uint8)


def scale(values: np.ndarray, intensity_range: IntensityRange, path: ImageFile | str) -> np.ndarray:
    """Scale numbers to uint8, ``intensity_range`` to 0..255, rounded; what lies outside is clipped.

    Raises:
        InputError: NaN; names ``path``.
    """
    low, high = intensity_range
    values = values.astype(np.float64)
    if np.isnan(values).any():
        raise InputError(f"{path}: pixels that are no number (NaN); mend or remove the image")
    return np.rint((values.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)


def check_range(given: Any) -> IntensityRange | None:
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


def depth_remark(paths: Sequence[Path]) -> str | None:
    """Say what share of 16 bits the pictures use, where it is less than half; None otherwise.

    Looks at the headers of a few pictures, evenly spread, and decodes those of 16 bits. Files that cannot be read are
    left to whoever reads them all.
    """
    places = sorted({round(place) for place in np.linspace(0, len(paths) - 1, min(len(paths), _LOOKED_AT))})
    ends = [found for found in (_ends(paths[place]) for place in places) if found is not None]
    if not ends:
        return None
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    share = (most - least) / _MOST
    if share >= 0.5 or most == least:
        return None
    return (
        f"the pictures of 16 bits use {share:.0%} of their range ({least} to {most}, in {len(ends)} looked at), so the "
        f"network sees little contrast; intensity_range=({least}, {most}) would use all of it"
    )


def _ends(path: Path) -> tuple[int, int] | None:
    """Least and greatest value of a picture of 16 bits without a window of its own."""
    if path.suffix.lower() not in _DEEP_SUFFIXES:
        return None
    try:
        with open_raster(path) as image:
            values = deep_values(image) if is_deep(image) and image.mode != "F" else np.empty(0, dtype=int)
    except InputError:
        return None
    return (int(values.min()), int(values.max())) if values.size else None
