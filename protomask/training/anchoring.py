"""Keep prototypes that rest near the training patches they were projected to, where the features run away (ours).

While prototypes rest and features learn around them, what the features make of the prototypes' own patches may leave
them: the last projection then moves prototypes far, and decisions with them. How far they are is measured after each
epoch; once it is more than ``LIMIT``, each further step also draws some source images towards their prototypes. For
cosine distances alone: others have no scale of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from protomask.data import collate
from protomask.freezing import evaluating, frozen
from protomask.training.stages import Objective, TrainingSet

LIMIT = 0.1
"""mean distance between prototypes and their source images from which on they are drawn together"""
SOURCES = 8
"""prototypes of a step that are compared with their source images"""
MEASURED = 64
"""prototypes, at most, whose distance is measured after an epoch"""
WEIGHT = 4.0


class Anchored:
    """An objective and how far prototypes, drawn at random, are from their source images: the mean distance.

    The source images are seen as the projection sees them: without augmentation, in evaluation mode.
    """

    def __init__(self, objective: Objective, setup: TrainingSet) -> None:
        self.objective = objective
        self.setup = setup

    def __call__(self, network: Any, images: Tensor, *others: Tensor) -> dict[str, Tensor]:
        terms = self.objective(network, images, *others)
        numbers = torch.randperm(network.prototype_count)[:SOURCES].tolist()
        with evaluating(list(network.modules())):
            terms["anchor"] = source_distances(network, self.setup, numbers).mean()
        terms["loss"] = terms["loss"] + WEIGHT * terms["anchor"]
        return terms


def measure_drift(network: Any, setup: TrainingSet) -> float:
    """Average the distance between prototypes and their source images; of many, over some of them, evenly chosen."""
    count = network.prototype_count
    numbers = torch.linspace(0, count - 1, min(count, MEASURED), dtype=torch.float32).long()
    with torch.no_grad(), frozen(network), setup.autocast():
        parts = [source_distances(network, setup, part.tolist()) for part in numbers.split(setup.batch_size)]
    return torch.cat(parts).mean().item()


def source_distances(network: Any, setup: TrainingSet, numbers: Sequence[int]) -> Tensor:
    """Compute how far prototypes ``numbers`` are from the training images they were projected to, (N,)."""
    positions = network.source_positions.tolist()
    images = collate([setup.plain[positions[number]] for number in numbers])["images"]
    distances = network(images.to(setup.device, memory_format=torch.channels_last)).distances
    return distances[range(len(numbers)), numbers]
