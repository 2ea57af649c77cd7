"""Distances and similarities between feature patches and prototypes, always in full float32.

The slope of the L2 similarity at distance 0 is about -1e4, so a float32 rounding error is already visible there;
bfloat16 or TF32 would drown the prototypes that matter most.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.precision import as_float, full_precision

EPSILON = 1e-4
"""The constant of the official similarity log((d + 1) / (d + epsilon))."""


def _dot(features: Tensor, prototypes: Tensor, each: bool) -> Tensor:
    """Compute dot products of patches and prototypes: (B, D, H, W) x (P, D, k, l) -> (B, P, H-k+1, W-l+1).

    With ``each``, prototypes (B, D, k, l) are one per image, and the result is (B, 1, ...). A sum of k*l matrix
    products: no unfolded copy of the features, and matrix products obey the float32 precision setting.
    """
    height = features.shape[2] - prototypes.shape[2] + 1
    width = features.shape[3] - prototypes.shape[3] + 1
    total: Tensor | None = None
    for row in range(prototypes.shape[2]):
        for column in range(prototypes.shape[3]):
            window = features[:, :, row : row + height, column : column + width].flatten(2)
            vectors = prototypes[:, :, row, column]
            term = (vectors[:, None] if each else vectors) @ window
            total = term if total is None else total + term
    assert total is not None  # a prototype has at least one cell
    return total.unflatten(2, (height, width))


def _window_energy(features: Tensor, size: tuple[int, ...]) -> Tensor:
    """Sum the squares over every patch: (B, 1, H-k+1, W-l+1)."""
    energy = features.square().sum(1, keepdim=True)
    if size == (1, 1):
        return energy
    return F.avg_pool2d(energy, size, stride=1) * (size[0] * size[1])


def squared_distances(features: Tensor, prototypes: Tensor, each: bool = False) -> Tensor:
    """Compute squared L2 distances, relu(sum z^2 - 2 z.p + sum p^2), as official ProtoPNet (known).

    Args:
        features: (B, D, H, W).
        prototypes: (P, D, k, l); with ``each``, (B, D, k, l), one for each image.

    Returns:
        (B, P, H-k+1, W-l+1), or (B, 1, ...) with ``each``; >= 0.
    """
    with full_precision(features.device):
        features, prototypes = as_float(features), as_float(prototypes)
        energy = _window_energy(features, tuple(prototypes.shape[2:]))
        norm = prototypes.square().sum((1, 2, 3))
        norm = norm[:, None, None, None] if each else norm[None, :, None, None]
        return F.relu(energy + (norm - 2 * _dot(features, prototypes, each)))


def cosines(features: Tensor, prototypes: Tensor, each: bool = False) -> Tensor:
    """Compute the cosine of every patch with every prototype, in [-1, 1]; shapes as :func:`squared_distances`."""
    with full_precision(features.device):
        features, prototypes = as_float(features), as_float(prototypes)
        energy = _window_energy(features, tuple(prototypes.shape[2:])).clamp_min(1e-12)
        prototypes = F.normalize(prototypes.flatten(1), dim=1).view_as(prototypes)
        return _dot(features, prototypes, each) / energy.sqrt()


def log_similarity(distances: Tensor) -> Tensor:
    """Compute log((d + 1) / (d + 1e-4)): 9.21 at distance 0, towards 0 far away (known)."""
    return torch.log((distances + 1) / (distances + EPSILON))
