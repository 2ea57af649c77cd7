"""What metrics are given: maps, masks, the images that they belong to; and what a map that says nothing is worth."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.given import short
from protomask.places import as_places

Shape = Sequence[int | str]
"""of a tensor; where a letter stands, any length will do"""


def as_images(given: Tensor, name: str = "images") -> Tensor:
    """Return images (B, C, H, W) as they are.

    Raises:
        InputError: no tensor of this shape; names it.
    """
    if not isinstance(given, Tensor):
        raise InputError(f"{name} is {short(given)}; give a tensor (B, C, H, W), of an array torch.from_numpy(array)")
    if given.ndim != 4:
        raise InputError(f"{name} have the shape {tuple(given.shape)}; give (B, C, H, W)")
    return given


def as_values(given: Tensor, shape: Shape | None, name: str) -> Tensor:
    """Return real numbers of this shape, None for any, such as scores, as they are.

    Raises:
        InputError: no real tensor, or another shape; names it.
    """
    if not isinstance(given, Tensor) or given.is_complex():
        raise InputError(f"{name} is {short(given)}; give a tensor of real numbers{_written(shape, ' ')}")
    if shape is not None:
        _require_shape(given, shape, name)
    return given


def as_paired(**given: Tensor) -> list[Tensor]:
    """Return values by name, such as the scores of whole images and of what is kept of each, as floating point.

    Raises:
        InputError: no real tensor, or not of the shape of the first one; names it.
    """
    shape, found = None, []
    for name, each in given.items():
        each = as_values(each, shape, name)
        shape = each.shape
        found.append(each if each.is_floating_point() else each.float())  # of whole numbers nothing can be NaN
    return found


def as_numbers(given: Any, beside: Tensor, name: str) -> Tensor:
    """Return whole numbers, such as a prototype's, one for each of ``beside`` (N, ...), as (N,) long on its device.

    Raises:
        InputError: no whole numbers, or not so many; names them.
    """
    numbers = as_places(given, name).to(beside.device)
    _require_shape(numbers, beside.shape[:1], name)
    return numbers


def as_list(given: Iterable, name: str, wanted: str) -> list:
    """Return as a list what is given one after the other, also by a generator.

    Args:
        wanted: in it, for the error.

    Raises:
        InputError: one thing alone, or a text; names it.
    """
    try:
        several = None if isinstance(given, str) else iter(given)
    except TypeError:  # also of a tensor or array of one number
        several = None
    if several is None:
        raise InputError(f"{name} is {short(given)}; give {wanted}, in a list")
    return list(several)


def as_boxes(given: Iterable[Tensor]) -> list[Tensor]:
    """Return the boxes of each image, tensors (K, 4).

    Raises:
        InputError: something else for an image; names it.
    """
    boxes = as_list(given, "boxes", "a tensor (K, 4) for each image")
    for place, each in enumerate(boxes):
        if not isinstance(each, Tensor) or each.is_complex() or each.numel() % 4:
            told = f"of the shape {tuple(each.shape)}" if isinstance(each, Tensor) else short(each)
            raise InputError(f"the boxes of image {place} are {told}; give a tensor (K, 4) of x0, y0, x1, y1")
    return boxes


def as_maps(given: Tensor, images: Tensor | None = None, *, name: str = "saliency") -> Tensor:
    """Return maps (B, H, W) in floating point of at least 32 bits: in fewer, or in integers, sums and shares go wrong.

    Any values will do, other than for what a localizer gives (:func:`protomask.localizers.base.check_maps`).

    Args:
        images: (B, C, H, W) whose maps they are; None where a metric asks for no images.

    Raises:
        InputError: no real tensor of this shape, or on another device than the images; names it.
    """
    if images is not None:
        as_images(images)
    if not isinstance(given, Tensor) or given.is_complex():
        raise InputError(f"{name} is {short(given)}; give a tensor of maps (B, H, W) of real numbers")
    shape = "(B, H, W)" if images is None else f"({len(images)}, {images.shape[2]}, {images.shape[3]})"
    if given.ndim != 3 or (images is not None and given.shape != (len(images), *images.shape[2:])):
        raise InputError(f"{name} has the shape {tuple(given.shape)}; give one map per image, here {shape}")
    if images is not None and given.device != images.device:
        raise InputError(f"{name} is on {given.device} and images on {images.device}; put both on the same device")
    return given.to(torch.promote_types(given.dtype, torch.float32))


def as_finite_maps(given: Tensor, images: Tensor | None = None, *, name: str = "saliency") -> Tensor:
    """Return maps as :func:`as_maps` does; InputError where one is not finite, by which nothing can be chosen."""
    saliency = as_maps(given, images, name=name)
    if not saliency.isfinite().all():
        raise InputError(f"{name} is not finite everywhere, so nothing can be chosen by it; leave such maps out")
    return saliency


def as_mask(given: Tensor, shape: Shape, name: str) -> Tensor:
    """Return a mask of this shape as bool.

    Of integers, such as a mask read from a file as 0 and 255, all but 0 are True. Fractions may be shares, of which
    nobody has said where they begin to count, so floating point must be 0 and 1.

    Raises:
        InputError: no tensor, another shape, or other numbers; names it.
    """
    if not isinstance(given, Tensor) or given.is_complex():
        raise InputError(f"{name} is {short(given)}; give a tensor of True and False")
    _require_shape(given, shape, name)
    if given.dtype == torch.bool:
        return given
    if given.is_floating_point() and not ((given == 0) | (given == 1)).all():
        raise InputError(f"{name} is {given.dtype} with values other than 0 and 1; give bool, as of {name} > 0.5")
    if not given.is_floating_point() and (given < 0).any():
        raise InputError(f"{name} has numbers below 0; give bool, or integers of which 0 alone is False")
    return given != 0


def as_region(given: Tensor, saliency: Tensor, name: str = "region") -> Tensor:
    """Return the mask of each map of ``saliency`` (B, H, W) as bool (B, H, W); one of (1, H, W) is that of all.

    Raises:
        InputError: as :func:`as_mask`.
    """
    if isinstance(given, Tensor) and given.shape == (1, *saliency.shape[1:]):
        return as_mask(given, given.shape, name).expand(saliency.shape)
    return as_mask(given, saliency.shape, name)


def draw_noise(draw: Callable[..., Tensor], images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Draw noise for images (N, C, H, W), of one seed per image, on the CPU.

    Args:
        draw: ``torch.rand`` or ``torch.randn``.

    Raises:
        InputError: no images in floating point, or not one seed for each.
    """
    if not as_images(images).is_floating_point():
        raise InputError(f"images are of {images.dtype}; give them normalised, in floating point")
    try:
        numbers = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise InputError(f"seeds is {short(seeds)}; give one whole number per image") from None
    if len(numbers) != len(images):
        raise InputError(f"there are {len(images)} images and {len(numbers)} seeds; give one for each")
    noise = [
        draw(image.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
        for image, seed in zip(images, numbers)
    ]
    return torch.stack(noise) if noise else torch.empty(images.shape, dtype=torch.float32)


def first_pixels(saliency: Tensor, share: float) -> Tensor:
    """Give the weight in [0, 1] of each pixel (B, H * W) among the most salient ``share`` of a map's.

    Where equal pixels are too many for the share, each counts with the part of them that fits, in whatever order they
    lie.
    """
    flat = saliency.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    level = flat.topk(count, dim=1).values[:, -1:]
    above, equal = flat > level, flat == level
    return above.float() + equal * ((count - above.sum(1, keepdim=True)).float() / equal.sum(1, keepdim=True))


def salient_pixels(saliency: Tensor, share: float) -> Tensor:
    """Give these weights (B, H * W), 0 for a map's least value, which is not salient: a map that is mostly zero has its
    spot alone, and a constant one nothing."""
    flat = saliency.flatten(1)
    return first_pixels(flat, share) * (flat > flat.amin(1, keepdim=True))


def unless_broken(values: Tensor, *maps: Tensor) -> Tensor:
    """Give NaN, to be left out and counted, for each map (B, ...) that is not finite, of which nothing can be said.

    Args:
        values: (B, ...) of the maps.
    """
    whole = torch.stack([each.isfinite().flatten(1).all(1) for each in maps]).all(0)
    return torch.where(whole.view(-1, *[1] * (values.ndim - 1)), values, torch.nan)


def _require_shape(given: Tensor, shape: Shape, name: str) -> None:
    lengths = zip(given.shape, shape)
    if given.ndim != len(shape) or any(isinstance(asked, int) and own != asked for own, asked in lengths):
        raise InputError(f"{name} has the shape {tuple(given.shape)}; give {_written(shape)}")


def _written(shape: Shape | None, before: str = "") -> str:
    return "" if shape is None else f"{before}({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
