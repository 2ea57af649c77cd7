"""Masks in files: which pixels are on the object. One reader for the mask and for the box around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from protomask.data.depth import SIXTEEN_BITS, deep_values, is_deep, low_is_bright
from protomask.data.dicom import is_dicom
from protomask.data.raster import has_alpha, open_file, open_raster, turn_upright, upright_size
from protomask.errors import InputError

_SPECKS = 16  # of 255; a black picture saved as a poor JPEG is of one value, up to half of this
_WEBP_SPECKS = 2  # by so much pixels differ in a black picture saved as WebP
_HEADER = 4096  # bytes, within which a WebP file says how its pixels are compressed

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1: pixels of the upright image, end-exclusive."""


def read_mask(path: Path, above: int = 0, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask as bool (h, w): where its value is greater than ``above``, of 0..255.

    The value of a coloured pixel is its greatest channel; that of a palette is its number, where 0 is black and only
    labels are asked for (``above`` 0), otherwise its colour. Transparent pixels are background. In a file compressed
    with losses, where the background is hardly ever 0, a value must be greater than half of the greatest one, too.

    Args:
        size: the (width, height) of the mask's image, which it must have.

    Raises:
        InputError: unreadable, of another size, negative or NaN, drawn by its transparency alone, or too dark for the
            losses of its compression; a DICOM file.
    """
    if is_dicom(path):
        raise InputError(f"{path}: a mask in a DICOM file is not read; save it as PNG: 0 on the background")
    with open_raster(path) as image:
        found = upright_size(image)
        if size is not None and found != size:
            raise InputError(
                f"{path}: the mask is {found[0]} x {found[1]} pixels, its image {size[0]} x {size[1]}; "
                f"make them the same"
            )
        turn = turn_upright(image)
        values = _values(image, above, path)
        least = max(above, _losses(image, values, path))
        mask = _on_object(values, _opaque(image), least, path)
    return mask if turn is None else np.asarray(Image.fromarray(mask).transpose(turn))


def decode_mask(path: Path, size: tuple[int, int], region: Region, divisor: int, above: int) -> np.ndarray:
    """Read the region of a mask image as uint8 (h, w), 1 where its value is greater than ``above``; see read_mask.

    Raises:
        InputError: unreadable, or not as large as its image, whose (width, height) is ``size``.
    """
    x0, y0, x1, y1 = region
    mask = read_mask(path, above, size)[y0:y1, x0:x1].astype(np.uint8)
    if divisor > 1:
        mask = (np.asarray(Image.fromarray(mask * 255).reduce(divisor)) > 127).astype(np.uint8)
    return mask


def mask_box(path: Path) -> Region | None:
    """Find the tight box around all pixels of a mask image that are on the object; None where none is.

    Raises:
        InputError: see :func:`read_mask`.
    """
    mask = read_mask(path)
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _losses(image: Image.Image, values: np.ndarray, path: Path) -> int:
    """Give the greatest value that may be the background's in a file compressed with losses; 0 without losses.

    Raises:
        InputError: nothing is bright enough to be told from the losses.
    """
    webp = _is_lossy_webp(image, path)
    if not (webp or image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"):
        return 0
    least, greatest = int(values.min(initial=255)), int(values.max(initial=0))
    black = least == greatest if not webp else greatest - least <= _WEBP_SPECKS
    if greatest <= _SPECKS and not black:
        raise InputError(
            f"{path}: the mask's greatest value is {greatest}, no more than what the compression of {image.format} may "
            "have changed; save it as PNG, or with 255 on the object"
        )
    return greatest // 2 if greatest > _SPECKS else greatest


def _is_lossy_webp(image: Image.Image, path: Path) -> bool:
    if image.format != "WEBP":
        return False
    with open_file(path) as file:
        return b"VP8L" not in file.read(_HEADER)


def _values(image: Image.Image, above: int, path: Path) -> np.ndarray:
    if is_deep(image):
        values = deep_values(image)
        if low_is_bright(image):
            if not image.mode.startswith("I;16"):
                raise InputError(
                    f"{path}: a mask of {image.mode} whose zero is white; save it with 0 on the background"
                )
            values = SIXTEEN_BITS[1] - values.astype(np.int64)
        if np.isnan(values).any() or values.min(initial=0) < 0:
            raise InputError(f"{path}: the mask holds negative values or NaN; make them 0 where there is no object")
        # Grey levels are compared at the same share of the range.
        return values if above == 0 or image.mode in ("F", "I", "L") else values // 257
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode == "LA":
        return np.asarray(image)[..., 0]
    if image.mode == "P":
        return _palette_values(image, above)
    # Without its transparency: Pillow would mix it into the colours of premultiplied modes only.
    colours = np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))
    return colours[..., :3].max(-1)


def _palette_values(image: Image.Image, above: int) -> np.ndarray:
    """Take the numbers of a palette as labels, unless grey levels are asked for, or the background is not number 0."""
    numbers = np.asarray(image)
    colours = np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))[..., :3].max(-1)
    zero_is_drawn = (colours[numbers == 0] > 0).any()
    others_are_black = (colours[numbers > 0] == 0).any()
    return colours if above > 0 or (zero_is_drawn and others_are_black) else numbers


def _opaque(image: Image.Image) -> np.ndarray | None:
    return np.asarray(image.convert("RGBA"))[..., 3] > 0 if has_alpha(image) else None


def _on_object(values: np.ndarray, opaque: np.ndarray | None, above: int, path: Path) -> np.ndarray:
    lit = values > above
    if opaque is None:
        return lit
    on = lit & opaque
    if not on.any() and not opaque.all() and (opaque.any() or lit.any()):
        raise InputError(
            f"{path}: the mask differs in its transparency only, so what the object is, is not clear; "
            "save it in grey: 0 on the background, 255 on the object"
        )
    return on
