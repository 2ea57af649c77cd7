"""From an image file to pixels: any common format becomes upright 8-bit RGB, large photographs are decoded smaller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from protomask.data.depth import (
    SIXTEEN_BITS,
    IntensityRange,
    deep_to_bytes,
    deep_values,
    is_deep,
    low_is_bright,
    stretched,
)
from protomask.data.dicom import dicom_size, is_dicom, read_dicom, read_unwindowed
from protomask.data.masks import Region
from protomask.data.raster import ImageFile, has_alpha, open_raster, turn_upright, upright_size
from protomask.errors import InputError

Choose = Callable[[tuple[int, int]], tuple[Region, int]]


def image_size(path: ImageFile) -> tuple[int, int]:
    """Read (width, height) of the upright image, from the file's header alone."""
    if is_dicom(path):
        return dicom_size(path)
    with open_raster(path) as image:
        return upright_size(image)


def decode(
    path: ImageFile, choose: Choose | None = None, intensity_range: IntensityRange | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read the pixels of an image file, or of a region of it.

    Greyscale, palette, CMYK and 16-bit images become RGB; transparent ones are laid on white; EXIF orientation is
    respected; of a file with several pictures (animations, TIFF pages) the first is taken. DICOM files are read as
    :func:`protomask.data.dicom.read_dicom` says.

    Args:
        path: the file, or its content as a :class:`protomask.data.raster.FileInMemory`.
        choose: called with the upright (width, height), returns ``(region, divisor)``: which pixels are wanted, and by
            which power of two the result is shrunk (JPEG files are then decoded at that size, which is much faster).
            The region must begin at multiples of the divisor. ``None``: everything.
        intensity_range: of grey images of more than 8 bits the values that become 0 and 255; ``None``: 0 and 65535, of
            DICOM files their window.

    Returns:
        uint8 (h, w, 3), h = ceil(height of the region / divisor), and the upright (width, height) of the whole image.

    Raises:
        InputError: the file is missing, empty, truncated, no image, has more than ``raster.MOST_PIXELS``, or has pixels
            of more than 8 bits outside 0..65535 and no range; names it.
    """
    if is_dicom(path):
        image = Image.fromarray(read_dicom(path, intensity_range))
        region, divisor = choose(image.size) if choose else ((0, 0, *image.size), 1)
        return np.asarray(_crop(image, region, 1).convert("RGB").reduce(divisor)), image.size
    with open_raster(path) as image:
        size = upright_size(image)
        region, divisor = choose(size) if choose else ((0, 0, *size), 1)
        stored = image.size
        if divisor > 1:
            image.draft(None, (stored[0] // divisor, stored[1] // divisor))
        drafted = max(1, round(stored[0] / image.size[0]))
        turn = turn_upright(image)
        pixels = eight_bits(image, path, intensity_range)
        pixels = _rgb(_crop(pixels if turn is None else pixels.transpose(turn), region, drafted))
        if divisor > drafted:
            pixels = pixels.reduce(divisor // drafted)
        return np.asarray(pixels), size


def thumbnail(path: ImageFile, side: int) -> np.ndarray:
    """Shrink the whole image to float32 (side, side) grey levels in 0..255, upright; its shape is not kept.

    Greys of more than 8 bits are shown as :func:`protomask.data.depth.stretched` says, so that those of few bits, and
    floats, show something without a range, too.

    Raises:
        InputError: unreadable.
    """
    if is_dicom(path):
        deep = read_unwindowed(path)
        if deep is not None:
            small = stretched(deep.values, deep.whole, side, path)
            return 255 - small if deep.inverted else small
        grey = Image.fromarray(read_dicom(path)).convert("L")
        return np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    with open_raster(path) as image:
        image.draft("L", (side, side))
        turn = turn_upright(image)
        if is_deep(image):
            grey_levels = stretched(deep_values(image), SIXTEEN_BITS, side, path)
            shown = Image.fromarray(255 - grey_levels if low_is_bright(image) else grey_levels)
        else:
            grey = image if image.mode == "L" else _rgb(image).convert("L")
            shown = grey.resize((side, side), Image.Resampling.BOX)
        return np.asarray(shown if turn is None else shown.transpose(turn), dtype=np.float32)


def _crop(image: Image.Image, region: Region, drafted: int) -> Image.Image:
    x0, y0, x1, y1 = region
    box = (x0 // drafted, y0 // drafted, -(-x1 // drafted), -(-y1 // drafted))
    return image if box == (0, 0, *image.size) else image.crop(box)


def _is_deep_colour(image: Image.Image) -> bool:
    """Tell by the raw mode, Pillow's name of the stored pixels ("RGB;16B"), alone or before a row's length."""
    modes = [
        tile[3] if isinstance(tile[3], str) else next(iter(tile[3] or ()), "") for tile in getattr(image, "tile", ())
    ]
    return any("16" in str(mode) for mode in modes)


def eight_bits(image: Image.Image, path: ImageFile | str, intensity_range: IntensityRange | None) -> Image.Image:
    """Scale a grey image of more than 8 bits, as :func:`protomask.data.depth.deep_to_bytes` does; others stay.

    Raises:
        InputError: as there, or a range is given for colours of 16 bits, which Pillow cuts to 8; names ``path``.
    """
    if is_deep(image):
        grey = deep_to_bytes(deep_values(image), intensity_range, path)
        return Image.fromarray(255 - grey if low_is_bright(image) else grey)
    if intensity_range is not None and _is_deep_colour(image):
        raise InputError(f"{path}: colours of 16 bits; intensity_range is for grey images, convert it to one")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # which Pillow turns into nothing else
        image = image.convert("LA")
    if has_alpha(image):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
