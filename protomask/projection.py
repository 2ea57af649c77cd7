"""Projection ("push"): every prototype becomes its nearest training patch, and remembers which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask import distributed
from protomask.capabilities import ChoosesAmongPatches, compares_by_cosine
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.labels import has_class, positives
from protomask.prototype_network import Candidates, PrototypeNetwork
from protomask.training.object_patches import allowed_patches, filled_by_objects
from protomask.training.stages import TrainingSet

CHOICE = 8
"""nearest images that are kept for each prototype while distinct patches are looked for"""
SAME = 0.02
"""Prototypes of a class are duplicates if their squared distance is at most this share of the mean over all pairs."""


Describe = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Nearest(NamedTuple):
    """Hold the K nearest patches found so far for each of P prototypes, nearest first; distance infinite where none."""

    distances: Tensor
    """(P, K)"""
    positions: Tensor
    """(P, K) long, the training image"""
    locations: Tensor
    """(P, K, 2) long, row and column of the patch"""
    patches: Tensor | None
    """(P, K, D, k, k); None before the first image"""

    def improve(self, distances: Tensor, positions: Tensor, describe: Describe) -> Nearest:
        """Take in the patches of further images; of equal distances the first seen stays ahead.

        Args:
            distances: (P, B), infinite where an image does not count.
            positions: (P, B) or (B,) of the images.
            describe: from columns and prototypes, (n,) each, to locations (n, 2) and patches (n, D, k, k).
        """
        count = self.distances.shape[1]
        together, order = torch.cat([self.distances, distances], 1).sort(dim=1, stable=True)
        together, order = together[:, :count], order[:, :count]
        fresh = (order >= count) & (together < torch.inf)
        held = order.clamp(max=count - 1)
        found = Nearest(
            together,
            torch.cat([self.positions, positions.expand(len(distances), -1)], 1).gather(1, order),
            self.locations.gather(1, held[..., None].expand(-1, -1, 2)),
            None if self.patches is None else self.patches[torch.arange(len(held))[:, None], held],
        )
        prototype, slot = fresh.nonzero(as_tuple=True)
        if not len(prototype):
            return found
        locations, patches = describe(order[prototype, slot] - count, prototype)
        kept = patches.new_zeros((*order.shape, *patches.shape[1:])) if found.patches is None else found.patches
        found.locations[prototype, slot] = locations
        kept[prototype, slot] = patches
        return found._replace(patches=kept)


@torch.no_grad()
def project(network: PrototypeNetwork, setup: TrainingSet, *, distinct: bool = False) -> dict[str, float]:
    """Move every prototype onto the nearest patch of its own class's training images (Chen et al. 2019, known).

    With several findings per image: of the training images that have the prototype's finding. With
    ``setup.on_object`` (ours) of the patches on the object alone, and of the images whose object fills a whole patch,
    where a class has at least as many of these as prototypes: what is shown of a smaller one is mostly around it.

    Streams ``setup.plain`` (training images through the evaluation transform) once, in order; a strictly smaller
    distance wins, so the first of equals stays. Memory: one batch's features and (B, P) distances, and the prototypes
    (``CHOICE`` times with ``distinct``, twice that with ``on_object``), whatever the number of images. Several
    processes take a block of whole batches each, and find what one would. The network's buffers ``source_positions``
    and ``source_locations`` then say where each prototype came from.

    Args:
        network: changed in place.
        setup: data and machine.
        distinct: give prototypes of one class patches that are not the same (see ``SAME``), the nearest prototype
            first, as far as the ``CHOICE`` nearest images of each offer one (ours).

    Returns:
        ``mean_distance`` and ``max_distance`` that the prototypes moved, before to after: their distance to the chosen
        patch.

    Raises:
        InputError: a class has no training image (named); nothing was changed.
    """
    data = setup.plain
    classes = network.prototype_classes.cpu()
    present = positives(data.labels, len(network.classes)).any(0)
    missing = [network.classes[index] for index in sorted(set(classes.tolist())) if not present[index]]
    if missing:
        raise InputError(
            f"no training image of class {', '.join(missing)}: its prototypes cannot be projected; add images or leave "
            "the class out"
        )
    count = CHOICE if distinct else 1
    shares = distributed.gather(_search(network, setup, count))
    nearest = _merge([each.anywhere for each in shares], len(classes), count)
    if setup.on_object:
        filled = _merge([each.filled for each in shares], len(classes), count)
        images = torch.stack([each.images for each in shares]).sum(0)
        nearest = preferred(filled, nearest, (images >= classes.bincount(minlength=len(images)))[classes])
    assert nearest.patches is not None  # every class has an image
    index = torch.arange(len(classes))
    rank = distinct_ranks(nearest.distances, nearest.patches, network, index) if distinct else torch.zeros_like(index)
    moved = nearest.distances[index, rank]
    network.set_prototypes(index.to(setup.device), nearest.patches[index, rank].to(setup.device))
    network.source_positions.copy_(nearest.positions[index, rank])
    network.source_locations.copy_(nearest.locations[index, rank])
    return {"mean_distance": moved.mean().item(), "max_distance": moved.max().item()}


class _Found(NamedTuple):
    """Hold what one process found in its share of the images."""

    anywhere: Nearest
    filled: Nearest
    """in images whose object fills a whole patch"""
    images: Tensor
    """(C,) long, how many of these each class has"""


def _search(network: PrototypeNetwork, setup: TrainingSet, count: int) -> _Found:
    """Find the nearest patches in this process's share of the images, on the CPU."""
    data, classes = setup.plain, network.prototype_classes.cpu()
    share = distributed.shard(len(data), setup.batch_size)
    nearest = filled = nothing_yet(len(classes), count)
    images_filled = torch.zeros(len(network.classes), dtype=torch.long)
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(data.subset(share)), desc="projection", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            candidates = find_candidates(network, setup, batch, images)
            distances = candidates.distances.float().cpu()
            distances = distances.masked_fill(~has_class(batch["labels"], classes), torch.inf)

            def describe(image: Tensor, prototype: Tensor, candidates=candidates) -> tuple[Tensor, Tensor]:
                where = image.to(setup.device), prototype.to(setup.device)
                return candidates.locations[where].cpu(), network.cut(candidates, *where).float().cpu()

            positions = batch["positions"] + share.start
            nearest = nearest.improve(distances.T, positions, describe)
            if setup.on_object:
                whole = filled_by_objects(network, batch)
                filled = filled.improve(distances.masked_fill(~whole[:, None], torch.inf).T, positions, describe)
                images_filled += positives(batch["labels"], len(network.classes))[whole].sum(0)
    return _Found(nearest, filled, images_filled)


def find_candidates(
    network: PrototypeNetwork, setup: TrainingSet, batch: dict[str, Any], images: Tensor, among: Tensor | None = None
) -> Candidates:
    """Find the patches of a batch from which the projection chooses: those on the object where the training asks so.

    Args:
        network: on the device of ``images``.
        batch: collated, whose ``images`` these are.
        among: (B, h, w) bool, the patches that count at all, on the CPU; where an image has none, distances are
            infinite. None: all do.

    Raises:
        InputError: patches on the object are asked for, and this kind of network cannot choose among patches.
    """
    if setup.on_object:
        on_object = allowed_patches(network, batch)
        among = on_object if among is None else on_object & among
    if among is None:
        return network.candidates(images)
    return cast(ChoosesAmongPatches, network).candidates_among(images, among)


def distinct_ranks(
    distances: Tensor, patches: Tensor, network: PrototypeNetwork, numbers: Tensor, staying: Sequence[int] = ()
) -> Tensor:
    """Choose for each of n prototypes which of its K patches it takes, (n,) long.

    The prototype that moves least chooses first; the nearest patch where all are the same as a sibling's.

    Args:
        distances: (n, K), nearest first.
        patches: (n, K, ...).
        network: before the projection.
        numbers: (n,) of the prototypes.
        staying: numbers of prototypes that lie on their patches already, which are taken.
    """
    owners = network.prototype_classes.cpu()
    classes = owners[numbers]
    before = comparable(network.prototypes.detach().cpu(), network)
    limit = SAME * mean_squared_distance(before)
    vectors = comparable(patches.flatten(0, 1).cpu(), network).unflatten(0, distances.shape)
    ranks = torch.zeros(len(classes), dtype=torch.long)
    taken: dict[int, list[Tensor]] = {}
    for number in staying:
        taken.setdefault(int(owners[number]), []).append(before[number])
    for prototype in distances[:, 0].argsort(stable=True).tolist():
        others = taken.setdefault(int(classes[prototype]), [])
        if others:
            apart = torch.cdist(vectors[prototype], torch.stack(others)).square().amin(1) > limit
            free = (apart & (distances[prototype] < torch.inf)).nonzero()
            ranks[prototype] = int(free[0]) if len(free) else 0
        others.append(vectors[prototype, ranks[prototype]])
    return ranks


def comparable(prototypes: Tensor, network: PrototypeNetwork) -> Tensor:
    """Flatten prototypes (P, ...) to float64 (P, n), as unit vectors where the network compares by cosine."""
    vectors = prototypes.double().flatten(1)
    return F.normalize(vectors, dim=1) if compares_by_cosine(network) else vectors


def mean_squared_distance(vectors: Tensor) -> float:
    """Average the squared distance over all pairs of vectors (P, n); 0 for a single one."""
    count = len(vectors)
    return (torch.cdist(vectors, vectors).square().sum() / max(count * (count - 1), 1)).item()


def nothing_yet(prototypes: int, count: int) -> Nearest:
    """Hold nothing, for a search to begin with."""
    return Nearest(
        torch.full((prototypes, count), torch.inf, dtype=torch.float32),
        torch.full((prototypes, count), -1),
        torch.full((prototypes, count, 2), -1),
        None,
    )


def preferred(one: Nearest, other: Nearest, where: Tensor) -> Nearest:
    """Take ``one`` for the prototypes ``where`` (P,) is true, and ``other`` for the rest."""
    if one.patches is None or other.patches is None or not where.any():
        return other

    def choose(first: Tensor, second: Tensor) -> Tensor:
        return torch.where(where.view(-1, *[1] * (first.ndim - 1)), first, second)

    return Nearest(
        choose(one.distances, other.distances),
        choose(one.positions, other.positions),
        choose(one.locations, other.locations),
        choose(one.patches, other.patches),
    )


def _merge(shares: list[Nearest], prototypes: int, count: int) -> Nearest:
    """Merge the nearest of all shares; the first of equals, as the shares are in the order of the images."""
    merged = nothing_yet(prototypes, count)
    for share in shares:

        def describe(slot: Tensor, prototype: Tensor, share=share) -> tuple[Tensor, Tensor]:
            return share.locations[prototype, slot], share.patches[prototype, slot]

        merged = merged.improve(share.distances, share.positions, describe)
    return merged
