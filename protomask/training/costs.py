"""Terms that the losses of all prototype networks share: pure functions of distances and of the last layer."""

from __future__ import annotations

import torch
from torch import Tensor


def cluster_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Mean over the batch of the least distance to a prototype of the image's own class (known; pulls).

    The minimum is masked with +inf; the official ``(max_dist - d) * mask`` saturates once a distance exceeds ``max_dist``.

    Args:
        distances: (B, P).
        labels: (B,) long.
        prototype_classes: (P,) long.
    """
    own = prototype_classes[None, :] == labels[:, None]
    return distances.masked_fill(~own, torch.inf).amin(1).mean()


def separation_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Mean over the batch of the least distance to a prototype of another class (known; is subtracted: pushes)."""
    own = prototype_classes[None, :] == labels[:, None]
    return distances.masked_fill(own, torch.inf).amin(1).mean()


def coverage_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Mean over prototypes of the least distance to an image of the prototype's own class in the batch (ours; pulls).

    The cluster cost pulls only the prototype that is nearest already. The others drift away from all data, and then the
    projection moves them far. This is the same pull from the prototypes' side; prototypes whose class is not in the
    batch are left out.
    """
    own = prototype_classes[None, :] == labels[:, None]
    least = distances.masked_fill(~own, torch.inf).amin(0)
    return least[own.any(0)].mean()


def wrong_class_weights(last_layer: Tensor, own_class: Tensor) -> Tensor:
    """L1 norm of the last layer's (C, P) weights to classes that a prototype does not belong to (known)."""
    return last_layer.masked_fill(own_class, 0).abs().sum()
