"""Was an imported file trained with the linear similarity? Its weights do not say so; its answers do."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.labels import right_answers
from protomask.prototype_network import Prediction, PrototypeNetwork
from protomask.training import TrainingSet, predict

IMAGES = 256
"""that are looked at, at most"""
SURE = 3.0
"""standard deviations of a fair coin by which the linear similarity must answer more images right"""


def refuse_linear_similarity(
    network: PrototypeNetwork, data: AnnotatedImages, setup: TrainingSet, path: str | os.PathLike
) -> None:
    """Refuse a network whose answers show that it was trained with similarity -d instead of log((d + 1) / (d + 1e-4)).

    Both are tried on up to 256 images, evenly over ``data``; the linear one must answer more of them right, by a sign
    test at three standard deviations. Ours.

    Args:
        network: with the ``l2-log`` similarity.
        data: images with the transform that the network wants.
        path: of the file, for the message.

    Raises:
        InputError: it was.
    """
    places = torch.linspace(0, len(data) - 1, min(IMAGES, len(data)), dtype=torch.float32).round().long().unique()
    some = data.subset(places)
    right = [right_answers(*predict(each, some, setup, "similarity")) > 0.5 for each in (network, _Linear(network))]
    if linear_is_better(*right):
        counts = [int(each.sum()) for each in right]
        raise InputError(
            f"{path}: trained with prototype_activation_function='linear': with it {counts[1]} of {len(some)} images "
            f"are answered right, with the log similarity {counts[0]}; only the latter can be imported"
        )


def linear_is_better(log: Tensor, linear: Tensor) -> bool:
    """Tell from the right answers (N,) of both whether the linear similarity answers surely more."""
    gained, lost = int((linear & ~log).sum()), int((log & ~linear).sum())
    return gained - lost > SURE * (gained + lost) ** 0.5


class _Linear(nn.Module):
    """The network with the similarity -d, d the squared distance of each prototype's nearest patch."""

    def __init__(self, network: PrototypeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Prediction:
        found = self.network(images)
        return found._replace(logits=-found.distances @ self.network.last_layer.weight.T.to(found.distances))
