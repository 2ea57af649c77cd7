"""From what a data set of somebody else's gives (PIL images, arrays, tensors) to pictures as ours: uint8 RGB."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protomask.data.decoding import eight_bits
from protomask.data.depth import IntensityRange, RangeNeeded, deep_values
from protomask.data.planes import check_planes
from protomask.data.raster import DAMAGE, has_alpha
from protomask.errors import InputError, type_named
from protomask.places import native

_CHANNELS = (1, 3, 4)
# Resizing with bicubic filters overshoots a little; a normalised picture leaves 0..1 by much more.
_SLACK = 0.05


def as_picture(value: Any, what: str, intensity_range: IntensityRange | None = None) -> Tensor:
    """Turn a picture of any common kind into uint8 RGB (3, H, W), its pixels in the order in which it holds them.

    What EXIF says of a PIL image's orientation is left to :mod:`protomask.data.turning`.

    Args:
        value: a PIL image; or an array or tensor (H, W), (C, H, W) or (H, W, C) of 1, 3 or 4 channels, whole numbers in
            0..255 or floats in 0..1. Where the shape could be read both ways, a tensor is (C, H, W) and an array
            (H, W, C). A fourth channel is transparency; it is laid on white.
        what: names the picture in errors.
        intensity_range: of grey PIL images of more than 8 bits, as of files; see
            :func:`protomask.data.decoding.decode`.

    Raises:
        InputError: something else, another number of channels, no pixels, NaN, or values out of range, such as those
            of a picture that is normalised already; a PIL image of 32 bits all of whose values are black as 16 bits.
    """
    if isinstance(value, Image.Image):
        value = _from_pil(value, what, intensity_range)
    elif not isinstance(value, Tensor | np.ndarray):
        raise InputError(f"{what}: the picture is {type_named(value)}; give a PIL image, an array or a tensor")
    pixels = _channels_first(value, what)
    if pixels.numel() == 0:
        raise InputError(f"{what}: the picture has no pixels (shape {tuple(value.shape)})")
    pixels = _to_bytes(pixels, what)
    if len(pixels) == 4:
        opaque = pixels[3:].float() / 255
        pixels = (pixels[:3].float() * opaque + 255 * (1 - opaque)).round().to(torch.uint8)
    return pixels.expand(3, -1, -1).clone(memory_format=torch.contiguous_format)


def as_mask(value: Any, size: tuple[int, int], what: str) -> Tensor:
    """Turn a mask into uint8 (1, H, W), 1 on the object: wherever ``value`` is not 0.

    Raises:
        InputError: it is not of the picture's ``size`` (H, W), not finite, or a path.
    """
    if isinstance(value, str | bytes | PathLike):
        raise InputError(f"{what}: the mask is {type_named(value)}; give its pixels, such as a PIL image or an array")
    mask = _plain(value, "mask", what)
    mask = mask[0] if mask.ndim == 3 and len(mask) == 1 else mask
    if tuple(mask.shape) != tuple(size):
        raise InputError(
            f"{what}: the mask has the shape {tuple(mask.shape)}, its picture {tuple(size)}; make them equal"
        )
    if mask.is_floating_point() and not mask.isfinite().all():
        raise InputError(f"{what}: the mask holds NaN or infinite values")
    return (mask != 0).to(torch.uint8)[None]


def _from_pil(image: Image.Image, what: str, intensity_range: IntensityRange | None) -> np.ndarray:
    try:
        check_planes(image, what)
        if image.mode == "I" and intensity_range is None:
            _check_depth(deep_values(image), what)
        pixels = eight_bits(image, what, intensity_range)
        return np.array(pixels.convert("RGBA" if has_alpha(pixels) else "RGB"))
    except InputError:
        raise
    except DAMAGE as error:  # Pillow reads pixels when they are first wanted
        raise InputError(f"{what}: the picture cannot be read ({error})") from error


def _check_depth(values: np.ndarray, what: str) -> None:
    """Refuse numbers of 32 bits that are black as those of 16: they may as well be meant as 8 bits."""
    if values.size and values.min() >= 0 and 0 < values.max() <= 255:
        raise RangeNeeded(
            f"{what}: a PIL image of mode I with values from {values.min()} to {values.max()}, all black as 16 bits; "
            'give image.convert("L") if they are 8 bits, else intensity_range=(low, high)',
        )


def _plain(value: Any, kind: str, what: str) -> Tensor:
    """Give a tensor on the CPU; ``kind`` says what it is of, in errors."""
    if isinstance(value, Tensor):
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            state = "on the meta device" if value.is_meta else "quantized" if value.is_quantized else "sparse"
            raise InputError(f"{what}: the {kind} is a tensor that is {state}; give a plain one that holds its values")
        return value.detach().as_subclass(Tensor).cpu()
    try:
        values = native(value)
    except DAMAGE:
        raise InputError(f"{what}: the {kind} is {type_named(value)} that is no array; give (H, W)") from None
    try:
        return torch.from_numpy(values)
    except TypeError:
        mend = "uint8, or floats in 0..1" if kind == "picture" else "numbers, not 0 on the object"
        raise InputError(f"{what}: the {kind} is an array of {values.dtype}; give {mend}") from None


def _channels_first(value: Tensor | np.ndarray, what: str) -> Tensor:
    """(C, H, W) of 1, 3 or 4 channels."""
    last, pixels = isinstance(value, np.ndarray), _plain(value, "picture", what)
    shape = tuple(pixels.shape)
    if len(shape) == 2:
        return pixels[None]
    if len(shape) == 3:
        fits = {True: shape[2] in _CHANNELS, False: shape[0] in _CHANNELS}
        if fits[last] or fits[not last]:
            return pixels.permute(2, 0, 1) if (last if fits[last] else not last) else pixels
    raise InputError(
        f"{what}: the picture has the shape {shape}; give (H, W), (C, H, W) or (H, W, C) of 1, 3 or 4 channels"
    )


def _to_bytes(pixels: Tensor, what: str) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.is_complex():
        raise InputError(f"{what}: the picture holds complex numbers; give uint8, or floats in 0..1")
    if not pixels.is_floating_point() and pixels.dtype != torch.bool:
        pixels = pixels.long()
        least, most = pixels.min().item(), pixels.max().item()
        if least < 0 or most > 255:
            raise InputError(f"{what}: whole numbers from {least} to {most}; give 0 to 255 (uint8)")
        return pixels.to(torch.uint8)
    pixels = pixels.float()
    if not pixels.isfinite().all():
        raise InputError(f"{what}: the picture holds NaN or infinite values")
    least, most = pixels.min().item(), pixels.max().item()
    if least < -_SLACK:
        raise InputError(
            f"{what}: values from {least:.3g} to {most:.3g}, so it is normalised already; leave Normalize out of what "
            "prepares it: that is done here, as the network needs it"
        )
    if most > 1 + _SLACK:
        raise InputError(f"{what}: floats from {least:.3g} to {most:.3g}; give floats in 0..1, or 0..255 as uint8")
    return pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
