"""The losses of occurrence maps: equivariant under affine maps of the image, and small."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.precision import as_float


def random_affines(
    count: int, rotation: float = 20.0, scales: tuple[float, float] = (0.6, 1.5), *, like: Tensor | None = None
) -> Tensor:
    """Draw rotations about the centre (+-``rotation`` degrees) with a zoom in ``scales``, both uniform (known).

    Drawn from torch's global generator on the CPU, one for each image (ours; ProtoASNet draws one for a batch).

    Args:
        like: the device and dtype of the result.

    Returns:
        (count, 2, 3) for :func:`transform`: from a place in the result to its source, both in [-1, 1] squared, so one
        matrix serves an image and its feature map. Meant for square images.
    """
    angles = torch.deg2rad((2 * torch.rand(count, dtype=torch.float32) - 1) * rotation)
    zooms = scales[0] + (scales[1] - scales[0]) * torch.rand(count, dtype=torch.float32)
    cosine, sine = angles.cos() / zooms, angles.sin() / zooms
    zero = torch.zeros(count, dtype=torch.float32)
    matrices = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(count, 2, 3)
    return matrices if like is None else matrices.to(like)


def transform(maps: Tensor, affines: Tensor) -> Tensor:
    """Resample (B, C, h, w) bilinearly under ``affines`` (B, 2, 3).

    Zero outside, which is the mean colour of a normalised image.
    """
    maps = as_float(maps)
    grid = F.affine_grid(affines.to(maps), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def transformation_cost(found: Tensor, expected: Tensor, relative: bool = False) -> Tensor:
    """Compute the L1 distance of M(A(x)), ``found``, and A(M(x)), ``expected``, both (B, P, h, w) >= 0.

    - published: the mean over all entries (known up to the reduction: mprotonet's; ProtoASNet's is h*w times as much);
    - ``relative`` (ours): the mean over maps of sum |found - expected| / sum (found + expected), in [0, 1]. A cosine
      does not see M's scale, so a network can lower the published term to nothing by shrinking M; this one it cannot.
    """
    difference = (found - expected).abs()
    if not relative:
        return difference.mean()
    return (difference.sum((2, 3)) / (found + expected).sum((2, 3)).clamp_min(_tiny(found))).mean()


def size_cost(occurrences: Tensor, relative: bool = False) -> Tensor:
    """Compute how much of the image the maps (B, P, h, w) >= 0 cover.

    - published: mean over maps of the L1 norm (known up to the reduction);
    - ``relative`` (ours): mean over maps of mean(M) / max(M), in [0, 1], 1 for a flat map, 1/(h*w) for a single cell;
      see :func:`transformation_cost`.
    """
    if not relative:
        return occurrences.sum((2, 3)).mean()
    return (occurrences.mean((2, 3)) / occurrences.amax((2, 3)).clamp_min(_tiny(occurrences))).mean()


def beside_cost(occurrences: Tensor, allowed: Tensor, own: Tensor) -> Tensor:
    """Compute the share of the maps (B, P, h, w) >= 0 that lies beside the object, in [0, 1] (ours).

    Args:
        allowed: (B, h, w) bool, the cells on the object.
        own: (B, P) bool, the maps that count.

    Returns:
        The mean over the maps that count; 0 where none does.
    """
    outside = (occurrences * ~allowed[:, None]).sum((2, 3)) / occurrences.sum((2, 3)).clamp_min(_tiny(occurrences))
    return (outside * own).sum() / own.sum().clamp_min(1)


def _tiny(maps: Tensor) -> float:
    # Far below any map that is not zero everywhere, and far above where 1/x overflows.
    return math.sqrt(torch.finfo(maps.dtype).tiny)
