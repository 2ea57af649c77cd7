"""The loss of XProtoNet, for one class or for several findings per image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protomask.labels import has_class, right_answers
from protomask.precision import as_float
from protomask.training.classification import classification_terms
from protomask.training.costs import cluster_cost, prototype_costs, separation_cost, wrong_class_weights
from xprotonet.model import XProtoNet
from xprotonet.occurrence import beside_cost, random_affines, size_cost, transform, transformation_cost


@dataclass(frozen=True)
class XProtoNetLoss:
    """Compute XProtoNet's loss.

    classification + cluster * Clst - separation * Sep + transformation * T + size * S + l1 * |wrong-class weights|
    + coverage * Cov + discrimination * Dis + diversity * Div.

    Classification is a balanced focal loss for findings (:func:`~protomask.training.classification.balanced_focal`) and
    cross-entropy for one class per image. Clst and Sep are the least distance, 1 - the greatest cosine, to the
    prototypes of the own and of other classes. The coefficients are those of the two public re-implementations (known;
    where they differ, one of the two); ``coverage``, ``discrimination``, ``diversity``, ``label_smoothing``,
    ``relative`` and ``share`` are ours, and do nothing by default.

    Where the cells on the object are given (``on_object``, ours), + beside * Bes: the mean, over pairs of an image and
    a prototype of its class, of the share of the occurrence map that lies on other cells.

    Args:
        transformation, size: see :func:`~xprotonet.occurrence.transformation_cost` and
            :func:`~xprotonet.occurrence.size_cost`; ``relative`` chooses the variant of both.
        rotation, scales: of the random affine maps, degrees and zoom (known).
        share: part of each batch, in (0, 1], that T is computed on: it costs a second pass through the backbone.
        part: ``"all"``, or ``"last"`` (classification and L1) when only the last layer learns.
    """

    cluster: float = 0.8
    separation: float = 0.08
    transformation: float = 0.5
    size: float = 1e-4
    l1: float = 1e-4
    coverage: float = 0.0
    discrimination: float = 0.0
    diversity: float = 0.0
    label_smoothing: float = 0.0
    relative: bool = False
    rotation: float = 20.0
    scales: tuple[float, float] = (0.6, 1.5)
    share: float = 1.0
    beside: float = 1.0
    part: str = "all"

    def __call__(
        self, network: XProtoNet, images: Tensor, labels: Tensor, allowed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute terms by name; ``loss`` is what is minimised, ``correct`` the number of right answers.

        ``allowed``: (B, h, w) bool, the cells on the object; None: all.
        """
        maps = network.maps(images)
        prediction = network.predict(maps)
        terms = classification_terms(prediction.logits, labels, self.label_smoothing)
        (loss,) = terms.values()
        terms = {
            **terms,
            "cluster": cluster_cost(prediction.distances, labels, network.prototype_classes),
            "separation": separation_cost(prediction.distances, labels, network.prototype_classes),
            "l1": wrong_class_weights(network.last_layer.weight, network.own_class()),
        }
        loss = loss + self.l1 * terms["l1"]
        if self.part == "all":
            loss = loss + self.cluster * terms["cluster"] - self.separation * terms["separation"]
            terms["size"] = size_cost(as_float(maps.occurrences), self.relative)
            loss = loss + self.size * terms["size"]
            if self.transformation:
                terms["transformation"] = self._transformation(network, images, maps.occurrences)
                loss = loss + self.transformation * terms["transformation"]
            costs = prototype_costs(self, prediction.distances, labels, network)
            if allowed is not None:
                own = has_class(labels, network.prototype_classes)
                costs["beside"] = beside_cost(as_float(maps.occurrences), allowed.to(labels.device), own)
            for name, cost in costs.items():
                terms[name] = cost
                loss = loss + getattr(self, name) * cost
        return {**terms, "loss": loss, "correct": right_answers(prediction.logits, labels).sum()}

    def _transformation(self, network: XProtoNet, images: Tensor, occurrences: Tensor) -> Tensor:
        # The batches are shuffled, so their first images are a random share.
        count = max(1, round(self.share * len(images)))
        affines = random_affines(count, self.rotation, self.scales, like=images)
        found = network.maps(transform(images[:count], affines)).occurrences
        expected = transform(occurrences[:count], affines)
        return transformation_cost(as_float(found), expected, self.relative)
