"""Read pictures as people have them: paths, folders, PIL images, arrays and tensors become pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protomask.errors import InputError

CHANNELS = (1, 3, 4)


class Picture(NamedTuple):
    """A photograph as it was given."""

    name: str
    """its path, or a number where it has none"""
    pixels: np.ndarray
    """(H, W, 3) uint8"""


def read_pictures(given: object) -> list[Picture]:
    """Read one picture or many.

    Args:
        given: a path, a folder (all its pictures, sorted), a PIL image, an array (H, W), (H, W, 3) or (H, W, 4) of uint8
            or of floats in [0, 1], a tensor (C, H, W), a batch of either, or a list of any of these.

    Raises:
        InputError: what cannot be read, and why; nothing to read.
    """
    found = [Picture(name or f"image {place}", as_pixels(one)) for place, (name, one) in enumerate(_each(given))]
    if not found:
        raise InputError("there are no pictures to look at; give at least one")
    return found


def find_pictures(folder: Path) -> list[Path]:
    """Find the pictures below a folder, sorted; hidden ones are left out.

    Raises:
        InputError: there are none.
    """
    from protomask.data.folder import SUFFIXES

    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}); give files, or a folder that has some")
    return found


def as_pixels(one: object) -> np.ndarray:
    """Turn one picture into (H, W, 3) uint8.

    Args:
        one: a path, a PIL image, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor (C, H, W) or (H, W); whole
            numbers from 0 to 255, or floats from 0 to 1.

    Raises:
        InputError: it is none of these, empty, or its values have another range.
    """
    if isinstance(one, (str, os.PathLike)):
        from protomask.data.decoding import decode

        return decode(Path(one))[0]
    from PIL import Image

    if isinstance(one, Image.Image):
        return _upright(one)
    if isinstance(one, Tensor):
        array = one.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
        if array.ndim == 3 and array.shape[0] in CHANNELS:
            array = array.transpose(1, 2, 0)
        elif array.ndim == 3:
            raise InputError(f"a picture as a tensor is (C, H, W) with 1 or 3 channels, not {tuple(one.shape)}")
    elif isinstance(one, np.ndarray):
        array = one
    else:
        raise InputError(
            f"a picture cannot be of type {type(one).__name__}; give a path, a PIL image, an array (H, W, 3) or a tensor "
            "(3, H, W)"
        )
    return _as_colour(_as_bytes(array))


def _each(given: object) -> Iterator[tuple[str | None, object]]:
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        for each in find_pictures(path) if path.is_dir() else [path]:
            yield str(each), each
    elif isinstance(given, (Tensor, np.ndarray)) and given.ndim == 4:
        yield from ((None, one) for one in given)
    elif isinstance(given, Sequence) or (
        hasattr(given, "__iter__") and not hasattr(given, "shape") and not _is_image(given)
    ):
        for one in given:
            yield from _each(one)
    else:
        yield getattr(given, "filename", None) or None, given


def _is_image(one: object) -> bool:
    from PIL import Image

    return isinstance(one, Image.Image)


def _upright(image) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        elif image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _as_colour(_as_bytes(np.asarray(image)))
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the picture {getattr(image, 'filename', '') or image} cannot be read ({error})") from error


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if array.size == 0 or array.ndim not in (2, 3):
        raise InputError(f"a picture is (H, W) or (H, W, 3), not {array.shape}")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise InputError(f"a picture holds numbers, not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise InputError("the picture holds values that are infinite or no numbers (NaN)")
    whole = np.issubdtype(array.dtype, np.integer)
    if low < 0 or high > (255 if whole else 1):
        expected = "from 0 to 255" if whole else "from 0 to 1"
        raise InputError(
            f"the picture's values go from {low:.4g} to {high:.4g}; {'whole numbers' if whole else 'floats'} must lie "
            f"{expected}. Give the picture as it was photographed: it is normalised for the model later"
        )
    return array.astype(np.uint8) if whole else np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _as_colour(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] not in CHANNELS:
        raise InputError(f"a picture has 1, 3 or 4 channels in its last dimension, not {array.shape}")
    if array.shape[2] == 4:  # on white, as transparent files are
        alpha = array[:, :, 3:].astype(np.float64) / 255
        array = np.rint(array[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def as_batch(pixels: np.ndarray, transform) -> Tensor:
    """Take pixels (H, W, 3) uint8 through the transform of a data set: (1, 3, H', W'), normalised."""
    from torchvision import tv_tensors

    image = tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1))
    boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=tuple(image.shape[-2:]))
    found = transform({"image": image, "boxes": boxes, "label": 0, "position": 0})["image"]
    return found.as_subclass(Tensor)[None]
