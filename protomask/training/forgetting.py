"""Forget prototypes: what they stood for is forbidden, others of their class take their places.

After ProtoPDebug (Bontempelli et al., ICLR 2023), who fine-tune with a loss on the activation of forbidden patches.
Reconstruction, and ours where it says so:

- *forbidden patches* f: the forgotten prototypes, the cells of their source images that people outlined as distraction,
  and (ours) the cells in the evidence that the learned mask of a forgotten prototype outlines;
- a patch is forbidden when it is like one of them (:mod:`protomask.training.patches`), and (ours) when it lies beside
  one that is, since it sees what is there, too; where that leaves nothing of a class, the first alone counts;
- the features rest, so that forbidden patches, kept prototypes and all that were not judged stay what they are;
- replaced prototypes start as patches of their class that are like no f (:func:`choose_starts`), settle for a few
  epochs (:mod:`protomask.training.settling`), and are projected onto their nearest patch that is allowed; those of one
  class onto distinct ones, as in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.freezing import frozen
from protomask.labels import has_class, positives
from protomask.projection import CHOICE, Nearest, distinct_ranks, find_candidates, nothing_yet, preferred
from protomask.training.object_patches import filled_by_objects
from protomask.training.patches import (
    Cell,
    classes_in,
    cut_cells,
    levels_of,
    nearest_in_images,
    source_of,
    with_prototypes,
)
from protomask.training.stages import TrainingSet

CELLS = 6
"""patches of each image that prototypes may start as"""
MOST_STARTS = 240
"""patches of each class among which they are chosen"""


class Forbidden(NamedTuple):
    """Hold the forbidden patches."""

    patches: Tensor
    """(F, D, k, k); there may be none"""
    levels: Tensor
    """(F,) similarity from which a patch is like it"""
    cells: dict[int, frozenset[tuple[int, int]]]
    """training image to the cells of patches that cover what people outlined as distraction: no prototype may come from
    there"""
    probe: Any
    """a copy of the network that the person saw, with ``patches`` as its prototypes: what is like them is told by it"""
    sources: tuple[Cell, ...] = ()
    """where each of ``patches`` is from"""


@torch.no_grad()
def find_forbidden(
    network: Any,
    setup: TrainingSet,
    cells: Sequence[Cell],
    forgotten: Sequence[int],
    outlined: Sequence[Cell],
    covering: Sequence[Cell] = (),
    owners: Mapping[Cell, int] | None = None,
) -> Forbidden:
    """Cut the forbidden patches, and find from which similarity on a patch is like each.

    Args:
        network: whose prototypes are patches of one feature map.
        cells: of further forbidden patches.
        forgotten: numbers of prototypes.
        outlined: cells of forbidden patches from which no prototype may come at all.
        covering: cells from which none may come either, of patches that are not forbidden themselves.
        owners: the class for whose prototype a cell was outlined, where that is known; else the cell stands for all
            classes that its image has.
    """
    places = list(dict.fromkeys((*cells, *outlined)))
    found = torch.cat([network.prototypes.detach()[list(forgotten)], cut_cells(network, setup, places)])
    of, known = network.prototype_classes.tolist(), owners or {}
    classes = [[of[number]] for number in forgotten]
    classes += [[known[cell]] if cell in known else classes_in(network, setup, cell[0]) for cell in places]
    levels = levels_of(network, setup, found, classes) if classes else found.new_zeros(0)
    blocked: dict[int, set[tuple[int, int]]] = {}
    for position, row, column in (*outlined, *covering):
        blocked.setdefault(position, set()).add((row, column))
    blocks = {key: frozenset(value) for key, value in blocked.items()}
    sources = tuple(source_of(network, number) for number in forgotten)
    return Forbidden(found, levels, blocks, with_prototypes(network, found), (*sources, *places))


def is_allowed(forbidden: Forbidden, patches: Tensor) -> Tensor:
    """Tell which patches (N, D, k, k), cut by the network before, are like no forbidden one: (N,) bool."""
    return ~_alike(forbidden, patches).any(1)


def sources_alike(forbidden: Forbidden, patches: Tensor) -> list[Cell]:
    """List where the forbidden patches are from that any of ``patches`` (N, D, k, k) is like."""
    return [cell for cell, one in zip(forbidden.sources, _alike(forbidden, patches).any(0).tolist()) if one]


def _alike(forbidden: Forbidden, patches: Tensor) -> Tensor:
    """Tell which patches are like which forbidden one, (N, F) bool."""
    if not len(forbidden.patches):
        return torch.zeros(len(patches), 0, dtype=torch.bool, device=patches.device)
    return forbidden.probe.patch_similarities(patches) >= forbidden.levels


@torch.no_grad()
def forbidden_cells(forbidden: Forbidden, images: Tensor, beside: int) -> Tensor:
    """Tell which cells of images (B, 3, H, W) are like a forbidden patch, or so near to one: (B, h, w) bool.

    Args:
        beside: cells in each direction that see what is there, too.
    """
    rows, columns = (side - part + 1 for side, part in zip(forbidden.probe.grid, forbidden.probe.prototypes.shape[2:]))
    if not len(forbidden.patches):
        return torch.zeros(len(images), rows, columns, dtype=torch.bool, device=images.device)
    with frozen(forbidden.probe):
        maps = forbidden.probe.similarity_maps(images).float()
    alike = (maps >= forbidden.levels[:, None, None]).any(1)
    return F.max_pool2d(alike[:, None].float(), 2 * beside + 1, stride=1, padding=beside)[:, 0] > 0


def covered_cells(network: Any, patches: Tensor) -> Tensor:
    """Tell which cells of the feature map lie in any of the patches that begin at ``patches`` (B, h, w) bool.

    Returns:
        (B, h + k - 1, w + k - 1) bool.
    """
    high, wide = network.prototypes.shape[2:]
    around = F.pad(patches[:, None].float(), (wide - 1, wide - 1, high - 1, high - 1))
    return F.max_pool2d(around, (high, wide), stride=1)[:, 0] > 0


@torch.no_grad()
def allowed_cells(forbidden: Forbidden, images: Tensor, positions: Sequence[int], beside: int = 1) -> Tensor:
    """Tell from which cells of training images (B, 3, H, W) a prototype may come: (B, h, w) bool.

    Args:
        positions: of the images.
        beside: see :func:`forbidden_cells`.
    """
    alike = forbidden_cells(forbidden, images, beside)
    for place, position in enumerate(positions):
        for row, column in forbidden.cells.get(position, ()):
            alike[place, row, column] = True
    return ~alike.cpu()


@torch.no_grad()
def choose_starts(
    network: Any, setup: TrainingSet, forbidden: Forbidden, replaced: Sequence[int], seed: int
) -> list[int]:
    """Start each replaced prototype as an allowed patch of its class that other classes have not, unlike its siblings.

    Returns:
        Those for which there is such a patch; the others are as they were.
    """
    generator = torch.Generator().manual_seed(seed)
    classes, started = network.prototype_classes.cpu(), []
    for owner in sorted({int(classes[number]) for number in replaced}):
        pool, places = _pool(network, setup, forbidden, owner, generator)
        if not len(pool):
            pool, places = _pool(network, setup, forbidden, owner, generator, beside=0)
        if not len(pool):
            continue
        nearest = nearest_in_images(with_prototypes(network, pool), setup)
        own = positives(setup.plain.labels, len(network.classes))[:, owner]
        worth = nearest[own].mean(0) - nearest[~own].mean(0) if (~own).any() else nearest[own].mean(0)
        among = with_prototypes(network, pool).patch_similarities(pool).cpu()
        near_kept = network.patch_similarities(pool).cpu()
        siblings = [n for n in range(len(classes)) if classes[n] == owner and n not in replaced]
        crowd = near_kept[:, siblings].amax(1) if siblings else torch.zeros(len(pool), dtype=torch.float32)
        spread = among.std().clamp_min(1e-6)
        for number in (n for n in replaced if classes[n] == owner):
            best = int((worth / worth.std().clamp_min(1e-6) - crowd / spread).argmax())
            network.set_prototypes(torch.tensor([number], device=setup.device), pool[best : best + 1])
            position, row, column = places[best]
            network.source_positions[number] = position
            network.source_locations[number] = torch.tensor([row, column])
            crowd = torch.maximum(crowd, among[:, best])
            crowd[best] = torch.inf  # two that start as one would learn as one
            started.append(number)
    return started


def _pool(
    network: Any,
    setup: TrainingSet,
    forbidden: Forbidden,
    owner: int,
    generator: torch.Generator,
    beside: int = 1,
) -> tuple[Tensor, list[Cell]]:
    """Draw allowed patches (M, D, k, k) of a class's training images by chance, and where each is from."""
    present = positives(setup.plain.labels, len(network.classes))[:, owner].nonzero().flatten()
    chosen = present[torch.randperm(len(present), generator=generator)][: MOST_STARTS // CELLS]
    places: list[Cell] = []
    for position in chosen.tolist():
        image = setup.plain[position]["image"][None].to(setup.device)
        cells = allowed_cells(forbidden, image, [position], beside)[0].nonzero()
        drawn = cells[torch.randperm(len(cells), generator=generator)[:CELLS]]
        places += [(position, row, column) for row, column in drawn.tolist()]
    return cut_cells(network, setup, places), places


@torch.no_grad()
def project_allowed(
    network: Any, setup: TrainingSet, forbidden: Forbidden, replaced: Sequence[int]
) -> dict[str, float]:
    """Move each replaced prototype onto the nearest allowed patch of its class's training images.

    Those of one class take distinct patches, which its other prototypes do not lie on either, as far as the ``CHOICE``
    nearest images of each offer one (:func:`protomask.projection.distinct_ranks`).

    With ``setup.on_object`` those whose object fills a patch come first, as in the projection: where a class has at
    least as many of them as prototypes, and one of them holds an allowed patch.

    Returns:
        ``moved``: mean distance; ``without``: how many found none, and go back to where they started.
    """
    wanted = torch.tensor(sorted(replaced))
    nearest = _nearest_allowed(network, setup, forbidden, wanted)
    found = nearest.distances[:, 0] < torch.inf
    back = wanted[~found]
    if len(back):
        starts = cut_cells(network, setup, [source_of(network, number) for number in back.tolist()])
        network.set_prototypes(back.to(setup.device), starts.to(setup.device))
    if nearest.patches is None or not found.any():
        return {"moved": 0.0, "without": float(len(back))}
    numbers, distances, patches = wanted[found], nearest.distances[found], nearest.patches[found]
    staying = sorted(set(range(network.prototype_count)) - set(numbers.tolist()))
    index, rank = torch.arange(len(numbers)), distinct_ranks(distances, patches, network, numbers, staying)
    network.set_prototypes(numbers.to(setup.device), patches[index, rank].to(setup.device))
    places = numbers.to(network.source_positions.device)
    network.source_positions[places] = nearest.positions[found][index, rank].to(places.device)
    network.source_locations[places] = nearest.locations[found][index, rank].to(places.device)
    return {"moved": distances[index, rank].mean().item(), "without": float(len(back))}


def _nearest_allowed(network: Any, setup: TrainingSet, forbidden: Forbidden, wanted: Tensor) -> Nearest:
    """Find the nearest allowed patches of each prototype ``wanted`` (n,), one of each image; infinitely far where
    nothing is allowed."""
    owners = network.prototype_classes.cpu()
    nearest = filled = nothing_yet(len(wanted), CHOICE)
    images_filled = torch.zeros(len(network.classes), dtype=torch.long)
    # Images of other classes offer nothing: they are not even read.
    own = has_class(setup.plain.labels, owners[wanted]).any(1).nonzero().flatten()
    loader = setup.loader(setup.plain.subset(own))
    with frozen(network):
        for batch in tqdm(loader, desc="projection", leave=False, disable=not setup.progress):
            images, positions = batch["images"].to(setup.device), own[batch["positions"]]
            allowed = allowed_cells(forbidden, images, positions.tolist())
            candidates = find_candidates(network, setup, batch, images, allowed)
            distances = candidates.distances[:, wanted.to(setup.device)].float().cpu()
            distances = distances.masked_fill(~has_class(batch["labels"], owners[wanted]), torch.inf)

            def describe(image: Tensor, place: Tensor, candidates=candidates) -> tuple[Tensor, Tensor]:
                where = image.to(setup.device), wanted[place].to(setup.device)
                return candidates.locations[where].cpu(), network.cut(candidates, *where).float().cpu()

            nearest = nearest.improve(distances.T, positions, describe)
            if setup.on_object:
                whole = filled_by_objects(network, batch)
                filled = filled.improve(distances.masked_fill(~whole[:, None], torch.inf).T, positions, describe)
                images_filled += positives(batch["labels"], len(network.classes))[whole].sum(0)
    enough = images_filled >= owners.bincount(minlength=len(network.classes))
    return preferred(filled, nearest, enough[owners[wanted]] & (filled.distances[:, 0] < torch.inf))
