"""What metrics are given: maps, masks, the images that they belong to; and what a map that says nothing is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.given import short


def as_maps(given: Tensor, images: Tensor | None = None, *, name: str = "saliency") -> Tensor:
    """Return maps (B, H, W) in floating point of at least 32 bits: in fewer, or in integers, sums and shares go wrong.

    Any values will do, other than for what a localizer gives (:func:`protomask.localizers.base.check_maps`).

    Args:
        images: (B, C, H, W) whose maps they are; None where a metric asks for no images.

    Raises:
        InputError: no real tensor of this shape, or on another device than the images; names it.
    """
    if images is not None and images.ndim != 4:
        raise InputError(f"images have the shape {tuple(images.shape)}; give (B, C, H, W)")
    if not isinstance(given, Tensor) or given.is_complex():
        raise InputError(f"{name} is {short(given)}; give a tensor of maps (B, H, W) of real numbers")
    shape = "(B, H, W)" if images is None else f"({len(images)}, {images.shape[2]}, {images.shape[3]})"
    if given.ndim != 3 or (images is not None and given.shape != (len(images), *images.shape[2:])):
        raise InputError(f"{name} has the shape {tuple(given.shape)}; give one map per image, here {shape}")
    if images is not None and given.device != images.device:
        raise InputError(f"{name} is on {given.device} and images on {images.device}; put both on the same device")
    return given.to(torch.promote_types(given.dtype, torch.float32))


def as_mask(given: Tensor, shape: tuple[int, ...] | torch.Size, name: str) -> Tensor:
    """Return a mask of this shape as bool.

    Of integers, such as a mask read from a file as 0 and 255, all but 0 are True. Fractions may be shares, of which
    nobody has said where they begin to count, so floating point must be 0 and 1.

    Raises:
        InputError: no tensor, another shape, or other numbers; names it.
    """
    if not isinstance(given, Tensor) or given.is_complex():
        raise InputError(f"{name} is {short(given)}; give a tensor of True and False")
    if tuple(given.shape) != tuple(shape):
        raise InputError(f"{name} has the shape {tuple(given.shape)}; give {tuple(shape)}")
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


def first_pixels(saliency: Tensor, share: float) -> Tensor:
    """Give the weight in [0, 1] of each pixel (B, H * W) among the most salient ``share`` of a map's.

    Where equal pixels are too many for the share, each counts with the part of them that fits, in whatever order they
    lie.
    """
    flat = saliency.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    level = flat.topk(count, dim=1).values[:, -1:]
    above, equal = flat > level, flat == level
    return above.float() + equal * ((count - above.sum(1, keepdim=True)) / equal.sum(1, keepdim=True))


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
