"""Distances and similarities between feature patches and prototypes, always in full float32.

The slope of the L2 similarity at distance 0 is about -1e4, so a float32 rounding error is already visible there; bfloat16
or TF32 would drown the prototypes that matter most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-4
"""The constant of the official similarity log((d + 1) / (d + epsilon))."""


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32 inside."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def _as_float(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _dot(features: Tensor, prototypes: Tensor) -> Tensor:
    """Dot products of every patch with every prototype: (B, D, H, W) x (P, D, k, l) -> (B, P, H-k+1, W-l+1).

    A sum of k*l matrix products: no unfolded copy of the features, and matrix products obey the float32 precision setting.
    """
    height = features.shape[2] - prototypes.shape[2] + 1
    width = features.shape[3] - prototypes.shape[3] + 1
    total = None
    for row in range(prototypes.shape[2]):
        for column in range(prototypes.shape[3]):
            window = features[:, :, row:row + height, column:column + width].flatten(2)
            term = prototypes[:, :, row, column] @ window
            total = term if total is None else total + term
    return total.unflatten(2, (height, width))


def _dot_each(features: Tensor, prototypes: Tensor) -> Tensor:
    """Like :func:`_dot` with one prototype per image: (B, D, H, W) x (B, D, k, l) -> (B, 1, H-k+1, W-l+1)."""
    height = features.shape[2] - prototypes.shape[2] + 1
    width = features.shape[3] - prototypes.shape[3] + 1
    total = None
    for row in range(prototypes.shape[2]):
        for column in range(prototypes.shape[3]):
            window = features[:, :, row:row + height, column:column + width].flatten(2)
            term = prototypes[:, None, :, row, column] @ window
            total = term if total is None else total + term
    return total.unflatten(2, (height, width))


def _window_energy(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum of squares over every patch: (B, 1, H-k+1, W-l+1)."""
    energy = features.square().sum(1, keepdim=True)
    if size == (1, 1):
        return energy
    return F.avg_pool2d(energy, size, stride=1) * (size[0] * size[1])


def squared_distances(features: Tensor, prototypes: Tensor, each: bool = False) -> Tensor:
    """Squared L2 distances, relu(sum z^2 - 2 z.p + sum p^2), as official ProtoPNet (known).

    Args:
        features: (B, D, H, W).
        prototypes: (P, D, k, l); with ``each``, (B, D, k, l), one for each image.

    Returns:
        (B, P, H-k+1, W-l+1), or (B, 1, ...) with ``each``; >= 0.
    """
    with full_precision(features.device):
        features, prototypes = _as_float(features), _as_float(prototypes)
        energy = _window_energy(features, tuple(prototypes.shape[2:]))
        norm = prototypes.square().sum((1, 2, 3))
        if each:
            return F.relu(energy + (norm[:, None, None, None] - 2 * _dot_each(features, prototypes)))
        return F.relu(energy + (norm[None, :, None, None] - 2 * _dot(features, prototypes)))


def cosines(features: Tensor, prototypes: Tensor, each: bool = False) -> Tensor:
    """Cosine of every patch with every prototype, in [-1, 1]; shapes as :func:`squared_distances`."""
    with full_precision(features.device):
        features, prototypes = _as_float(features), _as_float(prototypes)
        energy = _window_energy(features, tuple(prototypes.shape[2:])).clamp_min(1e-12)
        prototypes = F.normalize(prototypes.flatten(1), dim=1).view_as(prototypes)
        dot = _dot_each(features, prototypes) if each else _dot(features, prototypes)
        return dot / energy.sqrt()


def log_similarity(distances: Tensor) -> Tensor:
    """log((d + 1) / (d + 1e-4)): 9.21 at distance 0, towards 0 far away (known)."""
    return torch.log((distances + 1) / (distances + EPSILON))
