"""Occurrence-weighted pooling and cosine distances to prototypes, always in full float32."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from protomask.precision import as_float, full_precision


def pool(features: Tensor, occurrences: Tensor) -> Tensor:
    """Pool features under occurrence maps: f_p = sum over positions u of M_p(u) F(u) (known).

    One re-implementation sums, the other takes the mean; the two differ by the factor h*w, which no cosine sees.

    Args:
        features: (B, D, h, w).
        occurrences: (B, P, h, w), >= 0.

    Returns:
        (B, P, D).
    """
    with full_precision(features.device):
        return as_float(occurrences).flatten(2) @ as_float(features).flatten(2).transpose(1, 2)


def cosine_distances(pooled: Tensor, prototypes: Tensor) -> Tensor:
    """Compute 1 - cos(f_p, prototype_p), in [0, 2]; 1 where an occurrence map is zero everywhere.

    Args:
        pooled: (B, P, D).
        prototypes: (P, D), or (B, P, D) with others for each image.

    Returns:
        (B, P).
    """
    with full_precision(pooled.device):
        cosines = (F.normalize(as_float(pooled), dim=-1) * F.normalize(as_float(prototypes), dim=-1)).sum(-1)
        # Rounding can put a cosine just above 1.
        return F.relu(1 - cosines)
