"""What maps of an evaluation are of: the images as they are, or changed images, another network, another question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from protomask.evaluation.batch import Batch
from protomask.explainable import statistics_of
from protomask.metrics import faithfulness, part_points, steadiness


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _own_images(batch: Batch, saliency: Callable[[], Tensor]) -> Tensor:
    return batch.images


def _unseen_noise(batch: Batch, _: object) -> Tensor:
    """By the normalisation that the network expects; ImageNet's where nothing tells it."""
    std = statistics_of(batch.explained, "std")
    if std is None or len(std) not in (1, batch.images.shape[1]) or min(std) <= 0:
        return steadiness.nearby(batch.images, batch.seeds)
    return steadiness.with_unseen_noise(batch.images, std, batch.seeds)


@dataclass(frozen=True)
class Variant:
    """Hold what distinguishes some maps of a batch from those of its images as they are."""

    key: str
    """names the maps in the store; no two variants share one"""
    images: Callable[[Batch, Callable[[], Tensor]], Tensor] = _own_images
    """(batch, what makes the maps of its images as they are) -> the images (B, C, H, W) that are localised"""
    question: Callable[[Batch], Batch] = _as_it_is
    """gives the batch with the network, or with the index, that the maps are of"""


IMAGE = Variant("image")
KEPT = Variant("kept", lambda batch, saliency: batch.images * faithfulness.minmax(saliency())[:, None])
"""of what the map leaves of the image"""
NOISY = Variant("noisy", lambda batch, _: part_points.add_noise(batch.images, batch.seeds))
"""of the image under the noise of the stability metric"""
UNSEEN_NOISE = Variant("noise below half a level", _unseen_noise)
"""of the image with noise below half a grey level; "unseen noise" was twice as much for networks of other deviations"""
RANDOMISED = Variant("randomised", question=lambda batch: batch.with_network(batch.subject.randomised))
"""by the network with its parameters shuffled"""
ANOTHER_CLASS = Variant("another class", question=lambda batch: batch.with_index(batch.another_class))
"""of a prototype of another class, or of another class"""


def nearby(sample: int) -> Variant:
    """Give the maps of image 0, 1, ... of max-sensitivity."""

    def images(batch: Batch, _: object) -> Tensor:
        seeds = [(seed + 1 + sample) % 2**63 for seed in batch.seeds]
        return steadiness.nearby(batch.images, seeds, steadiness.RADIUS)

    return Variant(f"nearby {sample}", images)


def sibling(number: int) -> Variant:
    """Give the maps of prototype 0, 1, ... of the same class; see :attr:`Batch.siblings`."""
    return Variant(f"sibling {number}", question=lambda batch: batch.with_index(batch.siblings[0][:, number]))
