"""Which (image, prototype) pairs an evaluation looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protomask.capabilities import HasPrototypeClasses
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.given import as_count, refuse_run
from protomask.labels import positives
from protomask.places import as_places, number_outside
from protomask.prototype_network import PrototypeNetwork


@dataclass(frozen=True, eq=False)
class Pairs:
    """Choose images of a data set, each with one prototype (for a plain classifier: one class).

    Raises:
        InputError: another number of images than of prototypes; masks or fractions in place of whole numbers.
    """

    positions: Tensor
    """(n,) long, positions in the data set"""
    prototypes: Tensor
    """(n,) long"""

    def __post_init__(self) -> None:
        for name in ("positions", "prototypes"):
            object.__setattr__(self, name, as_places(getattr(self, name), name).cpu())
        if len(self.positions) != len(self.prototypes):
            raise InputError(f"{len(self.positions)} images for {len(self.prototypes)} prototypes; pairs need one each")

    def __len__(self) -> int:
        return len(self.positions)


def draw_stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Draw ``count`` positions of ``labels`` (n,), sorted, the classes taking turns.

    Their order and members are drawn by ``seed``.

    So no class is ahead of another by more than one image, unless it has no more. All positions where ``count >= n``.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    # Within the shuffled order, the how-manieth of its class is each image? All firsts go before all seconds.
    grouped = labels[order].argsort(stable=True)
    sizes = labels.bincount()
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])
    turn = torch.empty_like(order)
    turn[grouped] = torch.arange(len(labels)) - starts[labels[order[grouped]]]
    return order[turn.argsort(stable=True)[:count]].sort().values


def device_of(explained: object) -> torch.device:
    """Find where a module's first parameter is; the processor for what has none.

    Raises:
        InputError: it is on the meta device, without values.
    """
    parameters = explained.parameters() if isinstance(explained, torch.nn.Module) else iter(())
    device = next((parameter.device for parameter in parameters), torch.device("cpu"))
    if device.type == "meta":
        raise InputError(f"{type(explained).__name__} is on the meta device and has no weights; load them first")
    return device


def choose_pairs(
    network: PrototypeNetwork,
    data: AnnotatedImages,
    samples: int,
    seed: int = 0,
    device: torch.device | str | None = None,
    *,
    batch_size: int = 16,
) -> Pairs:
    """Draw images by ``seed``, stratified by class, each with the most similar prototype of its own class.

    Of equally similar prototypes the first.

    With several findings per image, every finding of an image is a pair that can be drawn, with that finding's
    prototype.

    Args:
        network: its mode is left as it was.
        data: usually the test images, with the evaluation transform.
        samples: all images if there are no more.
        device: where the network is; by default where its first parameter is.

    Raises:
        InputError: no images are asked for or there are none; the classes are not the network's; a similarity is NaN.
    """
    _check(network, data, samples)
    seed = as_count(seed, "seed", 0)
    device = device or device_of(network)
    owners = network.prototype_classes.cpu()
    candidates, labels = positives(data.labels, len(data.classes)).nonzero(as_tuple=True)
    kept = torch.isin(labels, owners)  # a pruned class may have no prototype left
    candidates, labels = candidates[kept], labels[kept]
    if not len(candidates):
        raise InputError("no image belongs to a class that has prototypes; there is nothing to evaluate")
    drawn = draw_stratified(labels, samples, seed)
    positions, labels = candidates[drawn], labels[drawn]
    best = []
    with frozen(network), torch.no_grad():
        for part, classes in zip(positions.split(batch_size), labels.split(batch_size)):
            batch = collate([data[position] for position in part.tolist()])
            similarities = network(batch["images"].to(device)).similarities.cpu()
            own = similarities.masked_fill(owners != classes[:, None], -torch.inf)
            best.append(require_similarities(own, data, part.tolist()).argmax(1))
    return Pairs(positions, torch.cat(best))


IMAGES_PER_PROTOTYPE = 10
"""Images of its class at which a prototype is looked at, as long as not all prototypes are."""


def choose_prototype_pairs(network: PrototypeNetwork, data: AnnotatedImages, samples: int, seed: int = 0) -> Pairs:
    """Choose about ``samples`` pairs for metrics per prototype: several images of its class for each prototype.

    Ten images each, of as many prototypes as that allows, the classes taking turns; once all prototypes take part, more
    images of each. With ``samples`` of all images times the prototypes of a class it is the published protocol: every
    prototype on every test image of its class. At least one prototype, on at most all images of its class.

    Raises:
        InputError: as :func:`choose_pairs`.
    """
    _check(network, data, samples)
    seed = as_count(seed, "seed", 0)
    owners = network.prototype_classes.cpu()
    own = positives(data.labels, len(data.classes))  # (images, classes)
    usable = own.any(0)[owners].nonzero().flatten()
    if not len(usable):
        raise InputError("no image belongs to a class that has prototypes; there is nothing to evaluate")
    each = max(IMAGES_PER_PROTOTYPE, samples // len(usable))
    chosen = usable[draw_stratified(owners[usable], max(1, samples // each), seed)]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    positions, prototypes = [], []
    for prototype in chosen.tolist():
        found = order[own[order, owners[prototype]]][:each].sort().values
        positions.append(found)
        prototypes.append(torch.full_like(found, prototype))
    return Pairs(torch.cat(positions), torch.cat(prototypes))


def each_image_once(*groups: Pairs) -> Pairs:
    """Keep the first pair of every image, for what is asked of images alone."""
    positions, prototypes = (
        torch.cat([getattr(each, name) for each in groups]) for name in ("positions", "prototypes")
    )
    kept = torch.from_numpy(np.unique(positions.numpy(), return_index=True)[1])
    return Pairs(positions[kept], prototypes[kept])


SIMILAR = 10
"""Images that purity looks at for each prototype, as published."""


def choose_similar_pairs(
    network: PrototypeNetwork,
    data: AnnotatedImages,
    prototypes: Tensor,
    count: int = SIMILAR,
    device: torch.device | str | None = None,
    *,
    batch_size: int = 16,
) -> Pairs:
    """Choose the images of the whole data set that are most similar to each prototype, whatever their class.

    Every image is scored once. Of equally similar images the first.

    Args:
        network: its mode is left as it was.
        data: with the evaluation transform.
        prototypes: (P,) long, numbers of prototypes.
        count: images for each; all if there are no more.
        device: where the network is; by default where its first parameter is.

    Raises:
        InputError: as :func:`choose_pairs`.
    """
    _check(network, data, count)
    prototypes = as_places(prototypes, "prototypes").cpu()
    device = device or device_of(network)
    found = []
    with frozen(network), torch.no_grad():
        for places in torch.arange(len(data)).split(batch_size):
            batch = collate([data[place] for place in places.tolist()])
            similarities = network(batch["images"].to(device)).similarities.cpu()[:, prototypes]
            found.append(require_similarities(similarities, data, places.tolist()))
    order = torch.cat(found).argsort(dim=0, descending=True, stable=True)[:count]
    return Pairs(order.T.sort(dim=1).values.flatten(), prototypes.repeat_interleave(len(order)))


def choose_source_pairs(network: PrototypeNetwork, data: AnnotatedImages, samples: int, seed: int = 0) -> Pairs:
    """Choose ``samples`` prototypes, each with the training image that it was projected to; classes take turns.

    Args:
        data: the training images, with the evaluation transform.
        samples: all prototypes if there are no more.

    Raises:
        InputError: the prototypes were not projected, or not to these images.
    """
    _check(network, data, samples)
    seed = as_count(seed, "seed", 0)
    sources = network.source_positions.cpu()
    if not len(sources) or int(sources.min()) < 0 or int(sources.max()) >= len(data):
        raise InputError(
            "the prototypes have no source images here: they were not projected, or to other training images"
        )
    chosen = draw_stratified(network.prototype_classes.cpu(), samples, seed)
    return Pairs(sources[chosen], chosen)


def require_similarities(similarities: Tensor, data: AnnotatedImages, positions: Sequence[int]) -> Tensor:
    """Return ``similarities`` (B, P) of the images at ``positions``; none that is NaN can be the greatest.

    Raises:
        InputError: names the first image with one that is NaN.
    """
    broken = similarities.isnan().any(1).nonzero().flatten().tolist()
    if broken:
        name = data.names[positions[broken[0]]]
        raise InputError(f"a similarity of image {name!r} is NaN; the network is broken there")
    return similarities


def check_pairs_fit(pairs: Pairs, explained: object, data: AnnotatedImages) -> None:
    """Check that pairs, which anybody may make, are of these data and this network.

    Raises:
        InputError: an image or a prototype that there is not, or a prototype network of other classes.
    """
    _check_numbers(pairs.positions, len(data), "image")
    if isinstance(explained, PrototypeNetwork | HasPrototypeClasses):
        _check_numbers(pairs.prototypes, len(explained.prototype_classes), "prototype")
    elif len(pairs) and int(pairs.prototypes.min()) < 0:
        raise InputError(f"the pairs name the index {int(pairs.prototypes.min())}; indices are numbered from 0")
    if isinstance(explained, PrototypeNetwork):
        _check_classes(explained, data)


def _check_numbers(numbers: Tensor, count: int, what: str) -> None:
    wrong = number_outside(numbers, count)
    if wrong is not None:
        raise InputError(f"the pairs name {what} {wrong}; there are {count}, numbered 0 to {count - 1}")


def _check(network: PrototypeNetwork, data: AnnotatedImages, samples: int) -> None:
    refuse_run(network)
    as_count(samples, "samples")
    _check_classes(network, data)


def _check_classes(network: PrototypeNetwork, data: AnnotatedImages) -> None:
    if tuple(data.classes) != tuple(network.classes):
        raise InputError(
            f"the data's {len(data.classes)} classes are not the {len(network.classes)} that the network "
            "was trained on; evaluate on the same data set"
        )
