"""The losses of ProtoPNet, with the known faults of the official code put right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.labels import has_class, right_answers
from protomask.training.classification import classification_terms
from protomask.training.costs import cluster_cost, prototype_costs, separation_cost, wrong_class_weights
from protopnet.model import ProtoPNet


@dataclass(frozen=True)
class ProtoPNetLoss:
    """Compute ProtoPNet's loss.

    classification + cluster * Clst - separation * Sep + l1 * |wrong-class weights| + coverage * Cov
    + discrimination * Dis + diversity * Div + beside * Bes.

    Classification is cross-entropy for one class per image (known) and, for findings, the balanced focal loss that
    XProtoNet has (ours). The defaults are the official coefficients (known). ``coverage``, ``discrimination``,
    ``diversity`` and ``label_smoothing`` are ours (0 in the paper). ``part`` chooses the terms: ``"all"`` for the warm
    and joint stages, ``"last"`` (classification and L1) when only the last layer learns.

    Where the patches on the object are given (``on_object``, ours), the costs of an image's own class look at these
    alone, and Bes is the mean, over pairs of an image and a prototype of its class, of how much nearer the nearest
    patch of all is than the nearest on the object: features learn not to find a prototype where it cannot come from.
    """

    cluster: float = 0.8
    separation: float = 0.08
    l1: float = 1e-4
    coverage: float = 0.0
    discrimination: float = 0.0
    diversity: float = 0.0
    label_smoothing: float = 0.0
    beside: float = 1.0
    part: str = "all"

    def __call__(
        self, network: ProtoPNet, images: Tensor, labels: Tensor, allowed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute terms by name; ``loss`` is what is minimised, ``correct`` the number of right answers.

        ``allowed``: (B, h, w) bool, the patches on the object; None: all.
        """
        prediction, own_distances = (
            (network(images), None) if allowed is None else network.predict_among(images, allowed)
        )
        distances = prediction.distances
        if own_distances is not None:
            own = has_class(labels, network.prototype_classes)
            nearer = ((own_distances - distances) * own).sum() / own.sum().clamp_min(1)
            distances = torch.where(own, own_distances, distances)
        terms = classification_terms(prediction.logits, labels, self.label_smoothing)
        (loss,) = terms.values()
        terms = {
            **terms,
            "cluster": cluster_cost(distances, labels, network.prototype_classes),
            "separation": separation_cost(distances, labels, network.prototype_classes),
            "l1": wrong_class_weights(network.last_layer.weight, network.own_class()),
        }
        terms["loss"] = loss + self.l1 * terms["l1"]
        if self.part == "all":
            terms["loss"] = terms["loss"] + self.cluster * terms["cluster"] - self.separation * terms["separation"]
            costs = prototype_costs(self, distances, labels, network)
            for name, cost in {**costs, **({} if own_distances is None else {"beside": nearer})}.items():
                terms[name] = cost
                terms["loss"] = terms["loss"] + getattr(self, name) * cost
        terms["correct"] = right_answers(prediction.logits, labels).sum()
        return terms
