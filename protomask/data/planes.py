"""TIFF files that Pillow would read otherwise than they are stored: read as they are, or refused."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImagePalette
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COLORMAP,
    COMPRESSION,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLESPERPIXEL,
    TiffImageFile,
)

from protomask.errors import InputError

_GREY = (0, 1)  # white or black is zero
_UNCOMPRESSED = 1
_TOGETHER, _SEPARATE = 1, 2
# libtiff gives numbers in the machine's order of bytes; of these Pillow expects the file's.
_NATIVE = {
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
}


def check_planes(image: Image.Image, path: object) -> None:
    """See to it that the picture of a TIFF file, not read yet, is read as it is stored; other files pass.

    Raises:
        InputError: grey of several channels, of which one alone would be read; channels in a plane for each that would
            be mixed up; names ``path``.
    """
    if not isinstance(image, TiffImageFile) or not image.tile:
        return
    tags = image.tag_v2
    samples = tags.get(SAMPLESPERPIXEL, 1)
    grey = tags.get(PHOTOMETRIC_INTERPRETATION) in _GREY
    if grey and samples > len(image.getbands()):
        raise InputError(
            f"{path}: {samples} channels of grey, of which one alone would be read; save the channel that is meant as "
            "its own file, or three as colours"
        )
    if tags.get(PLANAR_CONFIGURATION) == _SEPARATE:
        if samples > 1:
            _check_separate(image, samples, path)
        else:  # one plane is stored in the same way under either word, but Pillow cuts its kind to the first letter
            tags[PLANAR_CONFIGURATION] = _TOGETHER
            image._setup()
    image.tile = [_in_native_order(tile) for tile in image.tile]
    _read_small_palette(image)


def _check_separate(image: TiffImageFile, samples: int, path: object) -> None:
    tags = image.tag_v2
    if tags.get(COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        kinds = ("RGB", "CMYK", "P", "RGBA") if 1 not in tags.get(EXTRASAMPLES, ()) else ("RGB", "CMYK", "P")
        sound = image.mode in kinds and max(tags.get(BITSPERSAMPLE, (1,))) <= 8
    else:
        sound = image.mode in ("RGB", "CMYK", "P") or (image.mode == "RGBA" and EXTRASAMPLES in tags)
    if not sound:
        bits = max(tags.get(BITSPERSAMPLE, (1,)))
        raise InputError(
            f"{path}: {samples} channels ({image.mode}, {bits} bits) in separate planes (PlanarConfiguration 2), which "
            "are not read; save it with its channels side by side (PlanarConfiguration 1)"
        )


def _in_native_order(tile: Any) -> Any:
    codec, *_, given = tile
    raw = given[0] if isinstance(given, tuple) else given
    if codec != "libtiff" or raw not in _NATIVE:
        return tile
    made = (*tile[:3], (_NATIVE[raw], *given[1:]))
    return type(tile)(*made) if hasattr(tile, "_fields") else made  # a plain tuple before Pillow 11


def _read_small_palette(image: TiffImageFile) -> None:
    """Take a palette of numbers below 256 as one of 8 bits, as libtiff does: as one of 16 bits it is all black."""
    numbers = image.tag_v2.get(COLORMAP, ()) if image.mode in ("P", "PA") else ()
    if numbers and max(numbers) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(numbers))
