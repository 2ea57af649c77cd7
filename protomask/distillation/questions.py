"""Which classes or prototypes the explainer is asked about in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from protomask import distributed
from protomask.capabilities import class_of_index
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.labels import positives
from protomask.localizers.amortised.taps import asks_prototypes
from protomask.places import check_numbers

FIRST = 5
"""a classifier's most probable classes, among which the others are drawn"""


@dataclass(frozen=True)
class Questions:
    """Hold what is asked about each image: its own indices, and others that are as sensible."""

    own: list[Tensor]
    """of each image: its own class's prototypes, or its most probable class"""
    others: list[Tensor]
    """of each image: all prototypes, or its most probable classes but the first"""

    def draw(self, positions: list[int], share: float, generator: torch.Generator) -> Tensor:
        """Draw one index for each image, one of the others with the probability ``share``: (B,) long."""
        drawn = []
        for position in positions:
            other, place = torch.rand(2, generator=generator, dtype=torch.float32).tolist()
            choices = self.others[position] if other < share and len(self.others[position]) else self.own[position]
            drawn.append(choices[min(int(place * len(choices)), len(choices) - 1)])
        return torch.stack(drawn)


def ask(
    explained: Explainable, data: AnnotatedImages, allowed: Tensor | None, device: torch.device, batch_size: int
) -> Questions:
    """Find what can be asked of every image.

    Args:
        allowed: (K,) the classes or prototypes that may be asked for; None: all. Others remain unseen.

    Raises:
        InputError: the model has no such class or prototype as ``allowed`` says.
    """
    found = _of_prototypes if asks_prototypes(explained) else _of_classes
    questions = found(explained, data, allowed, device, batch_size)
    if allowed is None:
        return questions
    keep = {int(each) for each in allowed.tolist()}

    def kept(indices: Tensor) -> Tensor:
        return indices[[int(each) in keep for each in indices.tolist()]] if len(indices) else indices

    others = [kept(each) for each in questions.others]
    own = [kept(each) for each in questions.own]
    # Where none of an image's own may be asked for, the others are.
    own = [mine if len(mine) else other for mine, other in zip(own, others)]
    return Questions(own, others)


def _of_prototypes(explained, data: AnnotatedImages, allowed: Tensor | None, *_: object) -> Questions:
    owners = class_of_index(explained, len(data.classes))
    if tuple(data.classes) != tuple(explained.classes):
        raise InputError(
            f"the data's {len(data.classes)} classes are not the {len(explained.classes)} that the network was trained "
            "on; distill it with the same data set"
        )
    _check_allowed(allowed, len(owners), "prototype")
    every = torch.arange(len(owners))
    has = positives(data.labels, len(data.classes))
    return Questions([every[has[place][owners]] for place in range(len(data))], [every] * len(data))


def _of_classes(
    explained, data: AnnotatedImages, allowed: Tensor | None, device: torch.device, batch_size: int
) -> Questions:
    if not isinstance(explained, Classifier):
        raise InputError(
            f"{type(explained).__name__} is neither a prototype network nor a protomask.Classifier; wrap the model: "
            "Classifier(model)"
        )

    def probabilities(images: Tensor) -> Tensor:
        chances = explained.probabilities(images)
        _check_allowed(allowed, chances.shape[1], "class")  # how many there are is not known before
        return chances

    first = _first_classes(data, device, batch_size, probabilities, explained)
    return Questions([row[:1] for row in first], [row[1:] for row in first])


def _check_allowed(allowed: Tensor | None, count: int, what: str) -> None:
    if allowed is not None:
        check_numbers(allowed, count, what)


def _first_classes(
    data: AnnotatedImages,
    device: torch.device,
    batch_size: int,
    probabilities: Callable[[Tensor], Tensor],
    explained: Explainable,
) -> Tensor:
    """(N, up to FIRST) the most probable classes of each image."""
    mine = torch.tensor(list(distributed.shard(len(data), batch_size)), dtype=torch.long)
    found = []
    with torch.no_grad(), frozen(explained):
        for places in mine.split(batch_size):
            if len(places):
                images = collate([data[place] for place in places.tolist()])["images"].to(device)
                chances = probabilities(images).cpu()
                found.append(chances.topk(min(FIRST, chances.shape[1]), 1).indices)
    everybody = distributed.gather(found)
    return torch.cat([rows for each in everybody for rows in each])
