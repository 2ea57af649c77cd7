"""Raster images in files, opened with care: known formats of regular files only, of bounded size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from protomask.data.planes import check_planes
from protomask.errors import InputError
from protomask.files import check_regular_file, open_regular

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what is read. Others are not even tried: a PostScript file would be handed to Ghostscript."""

# More pixels than this (Pillow's own limit for a warning) would take gigabytes: a small file can claim any number.
MOST_PIXELS = 89_478_485
MISSING, MEND = "no such image file", "restore or remove it"

_ORIENTATION = 0x0112  # EXIF tag; values 2 to 8 say how the stored pixels must be turned to stand upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
"""what Pillow's readers raise for damaged files"""


class FileInMemory(NamedTuple):
    """Hold the content of an image file that is on no disk, for example of an upload; read as a file is."""

    name: str
    """tells the kind by its suffix, and names the picture in errors; never opened"""
    content: bytes

    def __str__(self) -> str:
        return self.name


ImageFile = Path | FileInMemory


def open_file(source: ImageFile) -> BinaryIO:
    """Open an image file for reading bytes.

    Raises:
        InputError: it is missing, or no regular file.
    """
    if isinstance(source, FileInMemory):
        return io.BytesIO(source.content)
    return open_regular(source, MEND, MISSING)


@contextmanager
def open_raster(path: ImageFile) -> Iterator[Image.Image]:
    """Open the first picture of a file, whose pixels are not read yet; what goes wrong within is told in one line.

    Raises:
        InputError: the file is missing, empty, damaged, no regular file, of another format than ``FORMATS``, has
            more than ``MOST_PIXELS``, or planes as :func:`protomask.data.planes.check_planes` says; names it.
    """
    try:
        with open_file(path) as file, Image.open(file, formats=FORMATS) as image:
            check_pixels(path, *image.size)
            check_planes(image, path)
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except DAMAGE as error:
        raise unreadable(path, error) from None


def check_pixels(path: ImageFile, width: int, height: int) -> None:
    """Raise InputError for a picture of more than ``MOST_PIXELS``."""
    if width * height > MOST_PIXELS:
        raise _too_large(path)


def unreadable(path: ImageFile, error: Exception) -> InputError:
    """Make the error for a file whose content ``error`` complains about."""
    if isinstance(path, FileInMemory):
        size = len(path.content)
    else:
        size = check_regular_file(path, MEND, MISSING).st_size
    if size == 0:
        return InputError(f"{path}: the image file is empty (0 bytes); {MEND}")
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        if _begins_as_tiff(path):
            return InputError(f"{path}: a TIFF file damaged or of pixels that are not read; save it with 8 or 16 bits")
        reason = "of no known format"
    return InputError(f"{path}: cannot be read as an image ({reason[:200]}); {MEND}")


def _begins_as_tiff(path: ImageFile) -> bool:
    with open_file(path) as file:
        return file.read(4) in (b"II*\0", b"MM\0*")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Tell (width, height) once the image stands upright."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        # Pillow turns these itself; before version 11 their size told so only once the pixels were read.
        stored = image.tag_v2.get(IMAGEWIDTH), image.tag_v2.get(IMAGELENGTH)
        on_its_side = image.tag_v2.get(_ORIENTATION) in (5, 6, 7, 8)
        return (height, width) if on_its_side and stored == (width, height) else (width, height)
    return (height, width) if _orientation(image) >= 5 else (width, height)


def turn_upright(image: Image.Image) -> Image.Transpose | None:
    """Tell how the stored pixels must be turned to stand upright; None where they do."""
    return _UPRIGHT.get(_orientation(image))


def has_alpha(image: Image.Image) -> bool:
    """Tell whether pixels may be transparent."""
    return image.mode in ("RGBA", "LA", "La", "PA", "RGBa") or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asking Pillow would decode the whole file
    if isinstance(image, TiffImageFile):
        return 1  # Pillow has turned the pixels once they are read, and some versions keep the tag all the same
    return image.getexif().get(_ORIENTATION, 1)


def _too_large(path: ImageFile) -> InputError:
    return InputError(f"{path}: more than {MOST_PIXELS // 10**6} million pixels; make the image smaller")
