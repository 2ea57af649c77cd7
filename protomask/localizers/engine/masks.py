"""Masks as small grids: their sizes, their upsampling, and what shows where a mask hides the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.precision import full_precision

BACKGROUNDS = ("zero", "blur", "noise")


def grid_shape(size: int, image_size: Sequence[int]) -> tuple[int, int]:
    """Compute rows and columns of a mask vector with ``size`` cells along the image's shorter side, nearly square.

    No side gets more cells than the image has pixels.

    >>> grid_shape(7, (224, 224)), grid_shape(7, (224, 320)), grid_shape(7, (4, 4))
    ((7, 7), (7, 10), (4, 4))
    """
    height, width = image_size
    scale = size / min(height, width)
    return min(max(round(height * scale), 1), height), min(max(round(width * scale), 1), width)


def upsample(vectors: Tensor, image_size: Sequence[int]) -> Tensor:
    """Enlarge mask vectors (B, 1, h, w) to masks (B, 1, H, W): bilinear between the centres of the cells.

    By two matrix products, whose gradient is as fast, and on CUDA, unlike that of ``F.interpolate``, the same every
    time.
    """
    if tuple(vectors.shape[-2:]) == image_size:
        return vectors
    return _along_both(_upsampling, vectors, image_size)


def background(images: Tensor, index: Tensor, kind: str, *, seed: int = 0) -> Tensor:
    """Make what a mask shows where it hides the image.

    Args:
        images: (B, 3, H, W), normalised.
        index: (B,); with ``seed`` and the image it seeds the noise.
        kind: ``"zero"``: zero after normalisation, the data's mean colour; ``"blur"``: the image without detail, a
            Gaussian with sigma one twelfth of the shorter side; ``"noise"``: every pixel of its own, uniform within
            1.7 standard deviations of the mean colour.

    Returns:
        Broadcastable to ``images``; for ``"zero"`` (B, 1, 1, 1).

    Raises:
        InputError: ``kind`` is none of these.
    """
    if kind == "zero":
        return images.new_zeros(len(images), 1, 1, 1)
    if kind == "blur":
        return gaussian_blur(images, min(images.shape[-2:]) / 12)
    if kind == "noise":
        shape = images.shape[1:]
        return (seeded_noise(images, index, shape.numel(), seed).view(images.shape) * 2 - 1).to(images) * 3**0.5
    raise InputError(f"background {kind!r} is unknown; choose one of {', '.join(BACKGROUNDS)}")


def black_pixel(explained: Explainable, images: Tensor) -> Tensor:
    """Compute a black pixel after the normalisation that ``explained`` expects: -mean / std, (1, C, 1, 1).

    Raises:
        InputError: ``explained`` has no ``mean`` and ``std`` of one number per channel each.
    """
    mean, std = getattr(explained, "mean", None), getattr(explained, "std", None)
    if mean is None or std is None:
        raise InputError(
            f"hiding in black needs the normalisation, which {type(explained).__name__} does not know; give it, "
            "for example Classifier(model, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))"
        )
    if len(mean) != images.shape[1]:
        raise InputError(
            f"the images have {images.shape[1]} channels, but mean and std {len(mean)}; give one per channel"
        )
    mean, std = (
        torch.as_tensor(value, dtype=images.dtype, device=images.device).view(1, -1, 1, 1) for value in (mean, std)
    )
    return -mean / std


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur images (B, C, H, W) by a Gaussian of ``sigma`` pixels.

    Separable, cut off at two sigma, edges replicated; channels last, as the loop's images.
    """
    return _along_both(_blurring, images, tuple(images.shape[-2:]), sigma).contiguous(memory_format=torch.channels_last)


def _along_both(matrix: Callable[..., Tensor], maps: Tensor, size: Sequence[int], *settings: float) -> Tensor:
    """Apply a linear separable map to the rows and the columns of ``maps`` (..., h, w).

    ``matrix(new, old, ...)`` gives the (new, old) matrix of one direction.
    """
    rows, columns = (matrix(new, old, *settings, maps.dtype, maps.device) for new, old in zip(size, maps.shape[-2:]))
    with full_precision(maps.device):
        return rows @ maps @ columns.T


# Kept, because to make them, or to move them to an accelerator, takes longer than to use them.
@lru_cache(maxsize=64)
def _upsampling(new: int, old: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        cells = torch.eye(old, dtype=torch.float64)
        return F.interpolate(cells[None], new, mode="linear", align_corners=False)[0].T.to(device, dtype)


@lru_cache(maxsize=64)
def _blurring(new: int, old: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    reach = max(int(2 * sigma), 1)
    with torch.inference_mode(False), torch.no_grad():
        offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.exp(-(offset**2) / (2 * max(sigma, 1e-3) ** 2))
        pixels = F.pad(torch.eye(old, dtype=torch.float64)[:, None], (reach, reach), mode="replicate")
        return F.conv1d(pixels, (weights / weights.sum())[None, None])[:, 0].T.to(device, dtype)


def seeded_noise(images: Tensor, index: Tensor, count: int, seed: int) -> Tensor:
    """Draw uniform numbers in [0, 1), (B, count) float32, that depend on each pair's image, index and the seed alone.

    Not on the pair's place in the batch: a batch gives what a loop over its images gives, on every device. The numbers
    are hashes of a pair's key and a counter (Wellons' ``lowbias32``), the key a hash of the image's bits.
    """
    bits = images.detach().float().contiguous().view(torch.int32).flatten(1).long()
    place = torch.arange(max(bits.shape[1], count), device=images.device)
    # An odd factor per pixel, so that equal pixels in other places give other keys; sums of integers have no rounding.
    key = (bits * (_hash(place[: bits.shape[1]]) | 1)).sum(1) + _hash(index.long() + 1)
    key = _hash(_hash(key) + _hash(torch.tensor(seed, device=images.device) + 0x5EED))
    return (_hash(_hash(place[None, :count]) + key[:, None]) >> 8).float() / (1 << 24)


def _hash(number: Tensor) -> Tensor:
    """Mix each integer's low 32 bits: int64 in [0, 2^32)."""
    number = number & 0xFFFFFFFF
    number = ((number ^ (number >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    number = ((number ^ (number >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return number ^ (number >> 16)
