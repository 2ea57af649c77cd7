"""Pictures that a camera held sideways took: EXIF says how their pixels, and annotations in these, stand upright."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.geometry import as_boxes, as_points
from protomask.data.images import Sample
from protomask.data.raster import DAMAGE, turn_upright
from protomask.errors import InputError

# How each turn is put together: x and y change places, then x is mirrored, then y.
_STEPS = {
    Image.Transpose.FLIP_LEFT_RIGHT: (False, True, False),
    Image.Transpose.ROTATE_180: (False, True, True),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, False, True),
    Image.Transpose.TRANSPOSE: (True, False, False),
    Image.Transpose.ROTATE_270: (True, True, False),
    Image.Transpose.TRANSVERSE: (True, True, True),
    Image.Transpose.ROTATE_90: (True, False, True),
}


def turn_of(picture: Any, what: str) -> Image.Transpose | None:
    """Tell how a PIL image must be turned to stand upright; None where it does, and for anything else.

    Raises:
        InputError: its EXIF cannot be read; begins with ``what``.
    """
    if not isinstance(picture, Image.Image):
        return None
    try:
        return turn_upright(picture)
    except DAMAGE as error:
        raise InputError(f"{what}: the picture cannot be read ({error})") from error


def turn_planes(planes: Tensor, turn: Image.Transpose | None) -> Tensor:
    """Turn (..., H, W) as :meth:`PIL.Image.Image.transpose` does; None leaves it as it is."""
    if turn is None:
        return planes
    swapped, across, down = _STEPS[turn]
    planes = planes.mT if swapped else planes
    return planes.flip([axis for axis, mirrored in ((-1, across), (-2, down)) if mirrored]).contiguous()


def turn_sample(sample: Sample, turn: Image.Transpose | None) -> Sample:
    """Turn a sample of :class:`protomask.data.AnnotatedImages`, its annotations with the picture."""
    if turn is None:
        return sample
    turned = {**sample, "image": tv_tensors.Image(turn_planes(sample["image"].as_subclass(Tensor), turn))}
    height, width = frame = tuple(turned["image"].shape[-2:])
    corners = _turn_points(sample["boxes"].as_subclass(Tensor).reshape(-1, 2, 2), turn, width, height)
    turned["boxes"] = as_boxes(torch.cat([corners.amin(1), corners.amax(1)], dim=1), frame)
    if "mask" in sample:
        turned["mask"] = tv_tensors.Mask(turn_planes(sample["mask"].as_subclass(Tensor), turn))
    if "points" in sample:
        turned["points"] = as_points(_turn_points(sample["points"].as_subclass(Tensor), turn, width, height), frame)
    return turned


def _turn_points(points: Tensor, turn: Image.Transpose, width: int, height: int) -> Tensor:
    """Turn (..., 2) x, y into a frame that is ``width`` times ``height`` afterwards."""
    swapped, across, down = _STEPS[turn]
    x, y = points.flip(-1).unbind(-1) if swapped else points.unbind(-1)
    return torch.stack([width - x if across else x, height - y if down else y], dim=-1)
