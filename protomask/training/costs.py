"""Terms that the losses of all prototype networks share: pure functions of distances and of the last layer."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.labels import has_class, is_multi_label, positives
from protomask.prototype_network import PrototypeNetwork


def cluster_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average the least distance to a prototype of the image's own class over the batch (known; pulls).

    For findings: the mean over all pairs of an image and a finding that it has of the least distance to that finding's
    prototypes. Images without such a prototype are left out; 0 where all are.

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
    return _mean(distances.masked_fill(~own, torch.inf).amin(1))


def separation_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average the least distance to a prototype of another class over the batch (known; subtracted: pushes).

    For findings: the mean over all pairs of an image and a finding that it does *not* have of the least distance to
    that finding's prototypes. 0 where there is no other class.
    """
    if is_multi_label(labels):
        return _mean(_nearest(distances, prototype_classes, labels.shape[1])[~positives(labels, labels.shape[1])])
    own = has_class(labels, prototype_classes)
    return _mean(distances.masked_fill(own, torch.inf).amin(1))


def _nearest(distances: Tensor, prototype_classes: Tensor, count: int) -> Tensor:
    """Compute the least distance (B, C) to the prototypes of each class, infinite where it has none."""
    start = distances.new_full((len(distances), count), torch.inf)
    return start.scatter_reduce(1, prototype_classes.expand(len(distances), -1), distances, "amin")


def _mean(distances: Tensor) -> Tensor:
    """Average what is not infinite; 0 (with a gradient of 0) where everything is."""
    there = distances != torch.inf  # where and clamp, since an accelerator would have to wait for a choice of rows
    return distances.where(there, 0.0).sum() / there.sum().clamp_min(1)


def coverage_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor) -> Tensor:
    """Average, over prototypes, the least distance to an image of the own class in the batch (ours; pulls).

    The cluster cost pulls only the prototype that is nearest already. The others drift away from all data, and then the
    projection moves them far. This is the same pull from the prototypes' side; prototypes whose class is not in the
    batch are left out. The labels are (B,) or (B, C).
    """
    own = has_class(labels, prototype_classes)
    least = distances.masked_fill(~own, torch.inf).amin(0)
    return _mean(least[own.any(0)])


def discrimination_cost(distances: Tensor, labels: Tensor, prototype_classes: Tensor, margin: float = 1.0) -> Tensor:
    """Average, over prototypes, how far images of other classes come within ``margin`` (ours; pushes).

    The mean over the batch's images without the prototype's class of relu(margin - d), with d the least distance. What
    all images have, such as background, is near in them, too, so a prototype cannot rest there; the separation cost
    pushes only the nearest prototype of each image, and the cluster and coverage costs pull towards background as
    readily as to the object. With cosine distances a margin of 1 asks for a similarity of 0. The labels are (B,) or
    (B, C); prototypes whose class all images have are left out.
    """
    other = ~has_class(labels, prototype_classes)
    within = (F.relu(margin - distances) * other).sum(0) / other.sum(0).clamp_min(1)
    return (within * other.any(0)).sum() / other.any(0).sum().clamp_min(1)


def diversity_cost(prototypes: Tensor, prototype_classes: Tensor, level: float = 0.3) -> Tensor:
    """Average the squared excess of the cosine over ``level``, over pairs of prototypes of one class (ours; spreads).

    0 where no class has two prototypes.

    Args:
        prototypes: (P, ...).
        prototype_classes: (P,) long.
        level: the cosine up to which two prototypes may be alike.
    """
    vectors = F.normalize(prototypes.flatten(1), dim=1)
    pairs = (prototype_classes[:, None] == prototype_classes).triu(1)
    excess = F.relu(vectors @ vectors.T - level).square()
    return (excess * pairs).sum() / pairs.sum().clamp_min(1)


class Coefficients(Protocol):
    """Say how much each of :func:`prototype_costs` weighs."""

    @property
    def coverage(self) -> float: ...
    @property
    def discrimination(self) -> float: ...
    @property
    def diversity(self) -> float: ...


def prototype_costs(
    wanted: Coefficients, distances: Tensor, labels: Tensor, network: PrototypeNetwork
) -> dict[str, Tensor]:
    """Compute the costs of ours whose coefficient in ``wanted`` is not 0, by name."""
    owners = network.prototype_classes
    costs = {
        "coverage": lambda: coverage_cost(distances, labels, owners),
        "discrimination": lambda: discrimination_cost(distances, labels, owners),
        "diversity": lambda: diversity_cost(network.prototypes, owners),
    }
    return {name: cost() for name, cost in costs.items() if getattr(wanted, name)}


def wrong_class_weights(last_layer: Tensor, own_class: Tensor) -> Tensor:
    """Compute the L1 norm of the last layer's (C, P) weights to classes a prototype does not belong to (known)."""
    return last_layer.masked_fill(own_class, 0).abs().sum()
