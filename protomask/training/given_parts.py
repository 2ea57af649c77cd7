"""Prototypes that may lie on given patches only: those that a person outlined, or the halves of one that is split.

All of this is ours.

- *Require*: a prototype is to look at an outlined place of its source image: the patches there are given to it.
- *Split*: a prototype that means two things becomes two. The patches of its class's training images that come nearest
  to it are parted in two groups, by the pair of them (medoids) to which all others are most similar; each half is
  given the patches of one group (:func:`split_in_two`).

A prototype p with the given patches R starts as the one that other classes have least (a half: as its medoid), settles
under the recipe's loss + relu(min over R of l(r) - sim(p, r)), for halves also + relu(max over the other's patches of
sim(p, r) - max over R of sim(p, r)), and is projected onto its nearest patch of R, siblings onto distinct ones as far
as there are any. What is forbidden is never among R.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from protomask.freezing import frozen
from protomask.labels import positives
from protomask.projection import distinct_ranks
from protomask.training.forgetting import Forbidden, allowed_cells, is_allowed
from protomask.training.patches import Cell, cut_cells, levels_of, nearest_in_images, with_prototypes
from protomask.training.stages import TrainingSet

MOST_NEAR = 60
"""training images whose patches are parted when a prototype is split"""
LEAST_NEAR = 4


class Given(NamedTuple):
    """Hold the patches on which one prototype may lie."""

    patches: Tensor
    """(R, D, k, k)"""
    levels: Tensor
    """(R,) similarity from which a patch is like it"""
    cells: tuple[Cell, ...]
    """where each is from"""
    start: int
    """as which of them the prototype starts"""
    other: int | None = None
    """the other half of a prototype that is split"""


@torch.no_grad()
def give_cells(
    network: Any, setup: TrainingSet, number: int, cells: Sequence[Cell], forbidden: Forbidden | None
) -> Given | None:
    """Give a prototype the patches of outlined ``cells``; None where all of them are forbidden."""
    if forbidden is not None:
        cells = [cell for cell in cells if cell[1:] not in forbidden.cells.get(cell[0], ())]
    patches = cut_cells(network, setup, cells)
    if forbidden is not None and len(cells):
        good = is_allowed(forbidden, patches)
        patches, cells = patches[good], [cell for cell, one in zip(cells, good.tolist()) if one]
    if not len(patches):
        return None
    owner = int(network.prototype_classes[number])
    nearest = nearest_in_images(with_prototypes(network, patches), setup)
    own = positives(setup.plain.labels, len(network.classes))[:, owner]
    worth = nearest[own].mean(0) - (nearest[~own].mean(0) if (~own).any() else 0.0)
    levels = levels_of(network, setup, patches, [[owner]] * len(cells))
    return Given(patches, levels, tuple(cells), int(worth.argmax()))


@torch.no_grad()
def give_halves(
    network: Any, setup: TrainingSet, number: int, half: int, forbidden: Forbidden | None = None
) -> dict[int, Given] | None:
    """Part the allowed patches nearest to prototype ``number`` in two; None where too few images of its class have one.

    Args:
        half: number of the prototype that becomes its other half.
    """
    cells = _nearest_cells(network, setup, number, forbidden)
    if len(cells) < LEAST_NEAR:
        return None
    patches = cut_cells(network, setup, cells)
    first, second, group = split_in_two(with_prototypes(network, patches).patch_similarities(patches).cpu())
    levels = levels_of(network, setup, patches, [[int(network.prototype_classes[number])]] * len(cells))
    found = {}
    for place, (mine, medoid, other) in enumerate(((number, first, half), (half, second, number))):
        members = (group == place).nonzero().flatten().tolist()
        found[mine] = Given(
            patches[members],
            levels[members],
            tuple(cells[member] for member in members),
            members.index(medoid),
            other,
        )
    return found


def _nearest_cells(network: Any, setup: TrainingSet, number: int, forbidden: Forbidden | None) -> list[Cell]:
    """Find the allowed cell nearest to a prototype in each of the half of its class's training images that have it
    most."""
    probe = with_prototypes(network, network.prototypes.detach()[number : number + 1])
    own = positives(setup.plain.labels, len(network.classes))[:, int(network.prototype_classes[number])]
    own = own.nonzero().flatten()
    found: list[tuple[float, Cell]] = []
    with frozen(probe):
        for batch in setup.loader(setup.plain.subset(own)):
            images, positions = batch["images"].to(setup.device), own[batch["positions"]].tolist()
            allowed = None if forbidden is None else allowed_cells(forbidden, images, positions, beside=0)
            candidates = probe.candidates_among(images, allowed)
            for position, distance, (row, column) in zip(
                positions, candidates.distances[:, 0].tolist(), candidates.locations[:, 0].tolist()
            ):
                if distance < torch.inf:
                    found.append((distance, (position, row, column)))
    found.sort()
    return [cell for _, cell in found[: min(MOST_NEAR, max(LEAST_NEAR, len(found) // 2))]]


def split_in_two(similarities: Tensor) -> tuple[int, int, Tensor]:
    """Part n things by the pair of them to which all are most similar (2-medoids, by looking at every pair).

    >>> near = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    >>> first, second, group = split_in_two(near)
    >>> (first, second), group.tolist()
    ((0, 2), [0, 0, 1])

    Args:
        similarities: (n, n), n >= 2.

    Returns:
        The two medoids, and the group of each thing, (n,) of 0 and 1.
    """
    best = torch.maximum(similarities[:, :, None], similarities[:, None, :]).sum(0)
    count = len(similarities)
    best.masked_fill_(torch.ones(count, count, dtype=torch.bool).tril(), -torch.inf)
    first, second = divmod(int(best.argmax()), count)
    group = (similarities[:, second] > similarities[:, first]).long()
    group[first], group[second] = 0, 1
    return first, second, group


@torch.no_grad()
def start_on_given(network: Any, given: Mapping[int, Given]) -> None:
    """Move each prototype onto the patch that it starts as."""
    for number, each in given.items():
        _put(network, number, each, each.start)


@torch.no_grad()
def project_on_given(network: Any, given: Mapping[int, Given], moving: Iterable[int] = ()) -> None:
    """Move each prototype onto the nearest of the patches that are given to it, and that no sibling has.

    Args:
        moving: further prototypes that have no patch yet: what they are now is not taken.
    """
    if not given:
        return
    numbers, count = list(given), max(len(each.patches) for each in given.values())
    first = given[numbers[0]].patches
    distances = torch.full((len(numbers), count), torch.inf, dtype=torch.float32)
    patches, order = first.new_zeros(len(numbers), count, *first.shape[1:]), torch.zeros(distances.shape).long()
    for place, (number, each) in enumerate(given.items()):
        probe = with_prototypes(network, network.prototypes.detach()[number : number + 1])
        away = -probe.patch_similarities(each.patches)[:, 0].cpu()
        near = away.argsort(stable=True)
        distances[place, : len(near)], order[place, : len(near)] = away[near], near
        patches[place, : len(near)] = each.patches[near.to(first.device)]
    staying = sorted(set(range(network.prototype_count)) - {*numbers, *moving})
    ranks = distinct_ranks(distances, patches, network, torch.tensor(numbers), staying)
    for place, (number, each) in enumerate(given.items()):
        _put(network, number, each, int(order[place, ranks[place]]))


def _put(network: Any, number: int, given: Given, place: int) -> None:
    index = torch.tensor([number], device=network.prototypes.device)
    network.set_prototypes(index, given.patches[place : place + 1])
    position, row, column = given.cells[place]
    network.source_positions[number] = position
    network.source_locations[number] = torch.tensor([row, column])
