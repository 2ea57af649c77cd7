"""From an image file to pixels: any common format becomes upright 8-bit RGB, large photographs are decoded smaller."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from protomask.errors import InputError

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1: pixels of the upright image, end-exclusive."""

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
# Pillow's readers raise all of these for damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
# More pixels than this (Pillow's own limit for a warning) would take gigabytes: a small file can claim any number.
MOST_PIXELS = 89_478_485


def image_size(path: Path) -> tuple[int, int]:
    """Read (width, height) of the upright image, from the file's header alone."""
    try:
        with _opened(path) as image:
            return _upright_size(image)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def decode(path: Path, choose=None) -> tuple[np.ndarray, tuple[int, int]]:
    """Read the pixels of an image file, or of a region of it.

    Greyscale, palette, CMYK and 16-bit images become RGB; transparent ones are laid on white; EXIF orientation is
    respected; of a file with several pictures (animations, TIFF pages) the first is taken.

    Args:
        path: the file.
        choose: called with the upright (width, height), returns ``(region, divisor)``: which pixels are wanted, and by
            which power of two the result is shrunk (JPEG files are then decoded at that size, which is much faster).
            The region must begin at multiples of the divisor. ``None``: everything.

    Returns:
        uint8 (h, w, 3), h = ceil(height of the region / divisor), and the upright (width, height) of the whole image.

    Raises:
        InputError: the file is missing, empty, truncated, no image, or has more than ``MOST_PIXELS``; names it.
    """
    try:
        with _opened(path) as image:
            size = _upright_size(image)
            region, divisor = choose(size) if choose else ((0, 0, *size), 1)
            stored = image.size
            if divisor > 1:
                image.draft(None, (stored[0] // divisor, stored[1] // divisor))
            drafted = max(1, round(stored[0] / image.size[0]))
            turn = _UPRIGHT.get(_orientation(image))
            pixels = image if turn is None else image.transpose(turn)
            pixels = _crop(pixels, region, drafted)
            pixels = _rgb(pixels, path)
            if divisor > drafted:
                pixels = pixels.reduce(divisor // drafted)
            return np.asarray(pixels), size
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def decode_mask(path: Path, size: tuple[int, int], region: Region, divisor: int, above: int) -> np.ndarray:
    """Read the region of a mask image as uint8 (h, w), 1 where its value is greater than ``above``.

    Raises:
        InputError: unreadable, or not as large as its image, whose (width, height) is ``size``.
    """
    try:
        with _opened(path) as image:
            if image.size != size:
                raise InputError(
                    f"{path}: the mask is {image.size[0]} x {image.size[1]} pixels, its image {size[0]} x {size[1]}; "
                    f"make them the same"
                )
            # The numbers of a palette image are labels, not colours.
            grey = np.asarray(image if image.mode in ("L", "P", "1", "I;16", "I") else image.convert("L"))
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from None
    x0, y0, x1, y1 = region
    mask = (grey[y0:y1, x0:x1] > above).astype(np.uint8)
    if divisor > 1:
        mask = (np.asarray(Image.fromarray(mask * 255).reduce(divisor)) > 127).astype(np.uint8)
    return mask


def mask_box(path: Path) -> Region | None:
    """Find the tight box around all pixels of a mask image that are not 0; None where all are.

    Raises:
        InputError: unreadable.
    """
    try:
        with _opened(path) as image:
            return image.getbbox(alpha_only=False)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def thumbnail(path: Path, side: int) -> np.ndarray:
    """Shrink the whole image to float32 (side, side) grey levels in 0..255; shape and orientation are not kept.

    Raises:
        InputError: unreadable.
    """
    try:
        with _opened(path) as image:
            image.draft("L", (side, side))
            grey = image if image.mode == "L" else Image.fromarray(np.asarray(_rgb(image, path))).convert("L")
            return np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def _opened(path: Path) -> Image.Image:
    """The first picture of a file, whose pixels are not read yet."""
    try:
        image = Image.open(path)
        if image.width * image.height <= MOST_PIXELS:
            return image
        image.close()
    except Image.DecompressionBombError:
        pass  # twice as many
    raise InputError(f"{path}: more than {MOST_PIXELS // 10**6} million pixels; make the image smaller")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asking Pillow would decode the whole file
    return image.getexif().get(_ORIENTATION, 1)


def _crop(image: Image.Image, region: Region, drafted: int) -> Image.Image:
    x0, y0, x1, y1 = region
    box = (x0 // drafted, y0 // drafted, -(-x1 // drafted), -(-y1 // drafted))
    return image if box == (0, 0, *image.size) else image.crop(box)


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would clip 16 bits at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(max=255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise InputError(f"{path}: pixels of type float have no fixed range; convert the image to 8 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> InputError:
    if not path.is_file():
        return InputError(f"{path}: no such image file")
    if path.stat().st_size == 0:
        return InputError(f"{path}: the image file is empty (0 bytes); restore or remove it")
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "of no known format"
    return InputError(f"{path}: cannot be read as an image ({reason}); restore or remove it")
