"""Pixels of more than 8 bits: which of their values become black and white."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from protomask.data.raster import ImageFile, open_raster
from protomask.errors import InputError

IntensityRange = tuple[float, float]
"""(low, high): the values that become 0 and 255; what lies outside is clipped."""

_MOST = 65_535
SIXTEEN_BITS: IntensityRange = (0, _MOST)
"""what becomes 0 and 255 where no range is given"""
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_PHOTOMETRIC = 262
_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
_BITS = 258
_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".ppm")
_LOOKED_AT = 16


class RangeNeeded(InputError):
    """Numbers of which nobody said which are black and white.

    Its one argument is the whole message, as processes that load images make errors anew from that alone: what is
    wrong, naming the file, and after the last semicolon where a range can be given.
    """

    @property
    def fact(self) -> str:
        """what is wrong, without the mend"""
        return str(self).rpartition("; ")[0]


@contextmanager
def without_range(why: str) -> Iterator[None]:
    """Within it no range can be given, and errors do not ask for one.

    Args:
        why: said in place of it.
    """
    try:
        yield
    except RangeNeeded as error:
        raise InputError(f"{error.fact}; convert the image to 8 bits{why}") from error


def is_deep(image: Image.Image) -> bool:
    """Tell whether the pixels are numbers of more than 8 bits, or signed ones, which are no grey levels either."""
    return image.mode == "F" or image.mode.startswith("I") or _is_signed(image)


def deep_values(image: Image.Image) -> np.ndarray:
    """Give the numbers of a deep image (h, w) as stored; high ones are bright, unless :func:`low_is_bright`."""
    values = np.asarray(image)
    if _is_signed(image):
        return values.view(np.int8)  # Pillow knows no signed bytes
    if image.mode == "I" and _format(image) == _UNSIGNED and _tags(image).get(_BITS) == (32,):
        return values.view(np.uint32)  # nor great numbers without a sign
    return values


def low_is_bright(image: Image.Image) -> bool:
    """Tell whether low numbers of a deep image are bright: what they are scaled to must be inverted."""
    return is_deep(image) and _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _tags(image: Image.Image) -> Any:
    """Of a TIFF file."""
    return getattr(image, "tag_v2", {})


def _format(image: Image.Image) -> int | None:
    """How the numbers of a TIFF file of one channel are stored, where it is one."""
    found = tuple(_tags(image).get(_SAMPLE_FORMAT) or (_UNSIGNED,)) if _tags(image) else ()
    return found[0] if len(found) == 1 else None


def _is_signed(image: Image.Image) -> bool:
    """Of 8 bits; Pillow reads them as unsigned ones, and inverts none of them."""
    return image.mode == "L" and _format(image) == _SIGNED


def deep_to_bytes(values: np.ndarray, intensity_range: IntensityRange | None, path: ImageFile | str) -> np.ndarray:
    """Scale numbers to uint8: ``intensity_range`` to 0..255, or without one, of whole numbers, 0..65535.

    Raises:
        InputError: without a range, values outside 0..65535, signed bytes, or floats; with one, NaN; names ``path``.
    """
    if intensity_range is not None:
        return scale(values, intensity_range, path)
    if values.dtype == np.int8 or not np.issubdtype(values.dtype, np.integer):
        kind = "signed 8 bits" if values.dtype == np.int8 else "type float"
        raise RangeNeeded(
            f"{path}: pixels of {kind} have no fixed range; "
            "convert the image to 8 bits, or give intensity_range=(low, high)",
        )
    least, most = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if least < 0 or most > _MOST:
        raise RangeNeeded(
            f"{path}: pixels from {least} to {most}, outside the 0 to {_MOST} of 16 bits; "
            "give intensity_range=(low, high), or convert the image",
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


def stretched(values: np.ndarray, whole: IntensityRange | None, side: int, path: ImageFile | str) -> np.ndarray:
    """Shrink numbers to float32 (side, side) grey levels in 0..255 of which something can be seen.

    ``whole`` becomes 0 to 255, unless it is None or what is shrunk lies outside it or uses less than half of it: then
    its own least and greatest value do; averages of a large picture, which a single hot pixel hardly changes.

    Raises:
        InputError: NaN or infinite numbers; names ``path``.
    """
    with np.errstate(over="ignore"):
        small = Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64)
    if not np.isfinite(grey).all():
        raise InputError(f"{path}: pixels that are no finite number; mend or remove the image")
    low, high = least, most = float(grey.min()), float(grey.max())
    if whole is not None and whole[0] <= least and most <= whole[1] and 2 * (most - least) >= whole[1] - whole[0]:
        low, high = whole
    return ((grey - low) / ((high - low) or 1) * 255).astype(np.float32)


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
    """Say what share of their range pictures of more than 8 bits use, where it is less than half; None otherwise.

    Looks at the headers of a few pictures, evenly spread, and decodes those of more than 8 bits, DICOM files without a
    window among them. Files that cannot be read are left to whoever reads them all.
    """
    places = sorted({round(place) for place in np.linspace(0, len(paths) - 1, min(len(paths), _LOOKED_AT))})
    ends = [found for found in (_ends(paths[place]) for place in places) if found is not None]
    if not ends:
        return None
    least, most = min(used[0] for used, _ in ends), max(used[1] for used, _ in ends)
    low, high = min(whole[0] for _, whole in ends), max(whole[1] for _, whole in ends)
    share = (most - least) / (high - low)
    if share >= 0.5 or most == least:
        return None
    used = f"{least:.10g}", f"{most:.10g}"
    bits = "16" if (low, high) == SIXTEEN_BITS else "more than 8"
    return (
        f"the pictures of {bits} bits use {share:.0%} of their range ({used[0]} to {used[1]}, in {len(ends)} looked "
        f"at), so the network sees little contrast; intensity_range=({used[0]}, {used[1]}) would use all of it"
    )


def _ends(path: Path) -> tuple[IntensityRange, IntensityRange] | None:
    """Least and greatest value of a picture of more than 8 bits without a window of its own, and of its range."""
    from protomask.data.dicom import is_dicom, read_unwindowed  # which reads by this module

    values, whole = np.empty(0), SIXTEEN_BITS
    try:
        if is_dicom(path):
            found = read_unwindowed(path)
            if found is not None and found.whole is not None:
                values, whole = found.values, found.whole
        elif path.suffix.lower() in _DEEP_SUFFIXES:
            with open_raster(path) as image:
                has_bits = is_deep(image) and image.mode not in ("F", "L")  # L: signed, of 8 bits
                values = deep_values(image) if has_bits else values
    except InputError:
        return None
    return ((float(values.min()), float(values.max())), whole) if values.size and whole[0] < whole[1] else None
