"""Terms that the losses of all prototype networks share: pure functions of distances and of the last layer."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.labels import has_class, is_multi_label, positives


def cluster_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average the least distance to a prototype of the image's own class over the batch (known; pulls).

    For findings: the mean over all pairs of an image and a finding that it has of the least distance to that finding's
    prototypes; 0 for a batch without any.

    The minimum is masked with +inf; the official ``(max_dist - d) * mask`` saturates once a distance exceeds
    ``max_dist``.

    Args:
        distances: (B, P).
        labels: (B,) long, or (B, C) findings.
        prototype_classes: (P,) long.
    """
    if is_multi_label(labels):
        return _mean(_nearest(distances, prototype_classes, labels.shape[1])[positives(labels, labels.shape[1])])
    own = has_class(labels, prototype_classes)
    return distances.masked_fill(~own, torch.inf).amin(1).mean()


def separation_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average the least distance to a prototype of another class over the batch (known; subtracted: pushes).

    For findings: the mean over all pairs of an image and a finding that it does *not* have of the least distance to
    that finding's prototypes.
    """
    if is_multi_label(labels):
        return _mean(_nearest(distances, prototype_classes, labels.shape[1])[~positives(labels, labels.shape[1])])
    own = has_class(labels, prototype_classes)
    return distances.masked_fill(own, torch.inf).amin(1).mean()


def _nearest(distances: Tensor, prototype_classes: Tensor, count: int) -> Tensor:
    """Compute the least distance (B, C) to the prototypes of each class, infinite where it has none."""
    start = distances.new_full((len(distances), count), torch.inf)
    return start.scatter_reduce(1, prototype_classes.expand(len(distances), -1), distances, "amin")


def _mean(distances: Tensor) -> Tensor:
    """Average what is not infinite; 0 (with a gradient of 0) where everything is."""
    there = distances[distances != torch.inf]
    return there.mean() if len(there) else there.sum()


def coverage_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average, over prototypes, the least distance to an image of the own class in the batch (ours; pulls).

    The cluster cost pulls only the prototype that is nearest already. The others drift away from all data, and then the
    projection moves them far. This is the same pull from the prototypes' side; prototypes whose class is not in the
    batch are left out. The labels are (B,) or (B, C).
    """
    own = has_class(labels, prototype_classes)
    least = distances.masked_fill(~own, torch.inf).amin(0)
    return _mean(least[own.any(0)])


def wrong_class_weights(last_layer: Tensor, own_class: Tensor) -> Tensor:
    """Compute the L1 norm of the last layer's (C, P) weights to classes a prototype does not belong to (known)."""
    return last_layer.masked_fill(own_class, 0).abs().sum()
