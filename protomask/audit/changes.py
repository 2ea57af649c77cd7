"""Changes of an image that nobody would call another image: JPEG, a small shift, and a tag beside the object.

The noise below half a grey level is that of the metrics, :func:`protomask.metrics.with_unseen_noise`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from protomask.data.shortcut import SHARE, tag_picture

QUALITY = 75
"""of JPEG, as most programs save it"""
SHIFT = 0.02
"""of the shorter side, down and to the right; at least one pixel"""


def saved_as_jpeg(images: Tensor, mean: Sequence[float], std: Sequence[float], quality: int = QUALITY) -> Tensor:
    """Save normalised images (B, 3, H, W) as JPEG and read them again."""
    scale, offset = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (std, mean))
    found = []
    for image in images.cpu():
        pixels = ((image * scale + offset).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        again = torch.frombuffer(bytearray(Image.open(file).convert("RGB").tobytes()), dtype=torch.uint8)
        found.append((again.view(pixels.shape).permute(2, 0, 1).float() / 255 - offset) / scale)
    return torch.stack(found).to(images)


def shift_of(images: Tensor) -> int:
    """Tell by how many pixels images (..., H, W) are shifted."""
    return max(1, round(SHIFT * min(images.shape[-2:])))


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Shift images (B, 3, H, W) down and to the right; the first row and column are repeated."""
    padded = F.pad(images, (pixels, 0, pixels, 0), mode="replicate")
    return padded[..., : images.shape[-2], : images.shape[-1]]


def with_tag(
    images: Tensor, objects: Tensor, mean: Sequence[float], std: Sequence[float], seeds: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Put the striped tag of :mod:`protomask.data.shortcut` beside the object, at a place drawn by each image's seed.

    Args:
        images: (B, 3, H, W), normalised by ``mean`` and ``std``.
        objects: (B, H, W) bool; the tag keeps off them.
        mean, std: of each channel.
        seeds: one per image.

    Returns:
        the images with their tags, and whether there was room, (B,) bool: without it an image stays as it is.
    """
    side = max(min(images.shape[-2:]) // SHARE, 1)
    scale, offset = (images.new_tensor(values).view(3, 1, 1) for values in (std, mean))
    tag = (tag_picture(side, side).to(images) / 255 - offset) / scale
    tagged, room = images.clone(), torch.zeros(len(images), dtype=torch.bool)
    taken = F.max_pool2d(objects[:, None].float().cpu(), side, stride=1)[:, 0] > 0
    for number, seed in enumerate(seeds):
        free = (~taken[number]).nonzero()
        if len(free):
            generator = torch.Generator().manual_seed(seed)
            top, left = free[int(torch.randint(len(free), (1,), generator=generator))].tolist()
            tagged[number, :, top : top + side, left : left + side] = tag
            room[number] = True
    return tagged, room
