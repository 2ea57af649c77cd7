"""The losses of ProtoPNet, with the known faults of the official code put right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from protopnet.model import ProtoPNet


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


@dataclass(frozen=True)
class ProtoPNetLoss:
    """cross-entropy + cluster * Clst - separation * Sep + l1 * |wrong-class weights| + coverage * Cov.

    The defaults are the official coefficients (known). ``coverage`` and ``label_smoothing`` are ours (0 in the paper).
    ``part`` chooses the terms: ``"all"`` for the warm and joint stages, ``"last"`` (cross-entropy and L1) when only the
    last layer learns.
    """

    cluster: float = 0.8
    separation: float = 0.08
    l1: float = 1e-4
    coverage: float = 0.0
    label_smoothing: float = 0.0
    part: str = "all"

    def __call__(self, network: ProtoPNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Terms by name; ``loss`` is what is minimised, ``correct`` the number of right answers."""
        prediction = network(images)
        terms = {"cross_entropy": F.cross_entropy(prediction.logits, labels, label_smoothing=self.label_smoothing),
                 "cluster": cluster_cost(prediction.distances, labels, network.prototype_classes),
                 "separation": separation_cost(prediction.distances, labels, network.prototype_classes),
                 "l1": wrong_class_weights(network.last_layer.weight, network.own_class())}
        terms["loss"] = terms["cross_entropy"] + self.l1 * terms["l1"]
        if self.part == "all":
            terms["loss"] = terms["loss"] + self.cluster * terms["cluster"] - self.separation * terms["separation"]
            if self.coverage:
                terms["coverage"] = coverage_cost(prediction.distances, labels, network.prototype_classes)
                terms["loss"] = terms["loss"] + self.coverage * terms["coverage"]
        terms["correct"] = (prediction.logits.argmax(1) == labels).sum()
        return terms
