"""TIFF files of which Pillow would read one channel of several, or other pixels than are stored."""

from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLESPERPIXEL,
    TiffImageFile,
)

from protomask.errors import InputError

_GREY = (0, 1)  # white or black is zero
_UNCOMPRESSED = 1
_SEPARATE = 2


def check_planes(image: Image.Image, path: object) -> None:
    """Check that the picture of a TIFF file is read as it is stored; other files pass.

    Raises:
        InputError: grey of several channels, of which one alone would be read; uncompressed colours of 16 bits in a
            plane for each, whose bytes would be mixed up; names ``path``.
    """
    if not isinstance(image, TiffImageFile):
        return
    tags = image.tag_v2
    samples = tags.get(SAMPLESPERPIXEL, 1)
    grey = tags.get(PHOTOMETRIC_INTERPRETATION) in _GREY
    if grey and samples > len(image.getbands()):
        raise InputError(
            f"{path}: {samples} channels of grey, of which one alone would be read; save the channel that is meant as "
            "its own file, or three as colours"
        )
    deep = max(tags.get(BITSPERSAMPLE, (1,))) > 8
    separate = tags.get(PLANAR_CONFIGURATION) == _SEPARATE and samples > 1
    if separate and deep and tags.get(COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        raise InputError(
            f"{path}: uncompressed colours of more than 8 bits in separate planes (PlanarConfiguration 2), which are "
            "not read; save it with its colours side by side (PlanarConfiguration 1), or with 8 bits"
        )
