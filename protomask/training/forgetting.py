"""Forget prototypes: what they stood for is forbidden, others of their class take their places.

After ProtoPDebug (Bontempelli et al., ICLR 2023), who fine-tune with a loss on the activation of forbidden patches.
Reconstruction, and ours where it says so:

- *forbidden patches* f: the forgotten prototypes, the cells of their source images that people outlined as distraction,
  and (ours) the cells in the evidence that the learned mask of a forgotten prototype outlines;
- (ours) a patch z is like f when sim(z, f) >= l(f), halfway between sim(f, f) and the median over the training images
  of other classes of what comes nearest to f in them: where every image holds something like f, next to nothing is
  forbidden by it;
- the features rest, so that forbidden patches, kept prototypes and all that were not judged stay what they are;
- replaced prototypes start as patches of their class that are like no f (:func:`choose_starts`), settle for a few
  epochs under the recipe's own loss + ``weight`` * mean over them of max_f relu(sim(p, f) - l(f)), and are projected
  onto their nearest patch that is allowed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask.freezing import frozen
from protomask.labels import has_class, positives
from protomask.prototype_network import Candidates
from protomask.training.stages import Action, Epochs, Objective, TrainingSet

CELLS = 6
"""patches of each image that prototypes may start as"""
MOST_STARTS = 240
"""patches of each class among which they are chosen"""


class Forbidden(NamedTuple):
    """Hold the forbidden patches."""

    patches: Tensor
    """(F, D, k, k)"""
    levels: Tensor
    """(F,) similarity from which a patch is like it"""
    cells: dict[int, frozenset[tuple[int, int]]]
    """training image to cells that people outlined as distraction: no prototype may come from there"""


def with_prototypes(network: Any, patches: Tensor) -> Any:
    """Copy a network so that its prototypes are ``patches`` (N, D, k, k); only distances can be asked of it."""
    probe = copy.deepcopy(network)
    probe.prototypes = nn.Parameter(patches.detach().clone().to(network.prototypes), requires_grad=False)
    return probe


@torch.no_grad()
def find_forbidden(
    network: Any,
    setup: TrainingSet,
    cells: Sequence[tuple[int, int, int]],
    forgotten: Sequence[int],
    outlined: Sequence,
) -> Forbidden:
    """Cut the forbidden patches, and find from which similarity on a patch is like each.

    Args:
        network: whose prototypes are patches of one feature map.
        cells: training image, row and column of further forbidden patches.
        forgotten: numbers of prototypes.
        outlined: of ``cells`` those from which no prototype may come at all.
    """
    patches = [network.prototypes.detach()[list(forgotten)]]
    owners = network.prototype_classes.cpu()[list(forgotten)].tolist()
    for position, row, column in dict.fromkeys((*cells, *outlined)):
        patches.append(_cut(network, setup, position, [(row, column)]))
        owners.append(_class_of(setup, position))
    found = torch.cat(patches)
    probe = with_prototypes(network, found)
    nearest = _nearest(probe, setup)  # (N, F)
    alike = probe.patch_similarities(found).diagonal().cpu()
    present = positives(setup.plain.labels, len(network.classes))
    others = torch.stack([nearest[~present[:, owner], place].median() for place, owner in enumerate(owners)])
    others = others.nan_to_num(0.0)
    blocked: dict[int, set[tuple[int, int]]] = {}
    for position, row, column in outlined:
        blocked.setdefault(position, set()).add((row, column))
    levels = (alike + others) / 2
    return Forbidden(found, levels.to(found.device), {key: frozenset(value) for key, value in blocked.items()})


def _class_of(setup: TrainingSet, position: int) -> int:
    label = setup.plain.labels[position]
    return int(label.argmax()) if label.ndim else int(label)


def _cut(network: Any, setup: TrainingSet, position: int, cells: Sequence[tuple[int, int]]) -> Tensor:
    """Cut the patches (N, D, k, k) of a training image that begin at ``cells``."""
    image = setup.plain[position]["image"][None].to(setup.device)
    with frozen(network):
        patches = network.candidates(image).patches
    where = torch.tensor(cells, device=setup.device)[None]
    index = torch.arange(len(cells), device=setup.device)
    return network.cut(Candidates(where[..., 0], where, patches), torch.zeros_like(index), index)


def _nearest(probe: Any, setup: TrainingSet) -> Tensor:
    """Similarity of what comes nearest to each of the probe's prototypes in each training image: (N, F)."""
    rows = []
    with frozen(probe), setup.autocast():
        for batch in tqdm(setup.loader(setup.plain), desc="compare", leave=False, disable=not setup.progress):
            distances = probe.candidates(batch["images"].to(setup.device)).distances
            rows.append(probe.similarity(distances).float().cpu())
    return torch.cat(rows)


def is_allowed(forbidden: Forbidden, probe: Any, patches: Tensor) -> Tensor:
    """Tell which patches (N, D, k, k) are like no forbidden one, (N,) bool; ``probe`` has those as prototypes."""
    return (probe.patch_similarities(patches) < forbidden.levels).all(1)


@torch.no_grad()
def choose_starts(
    network: Any, setup: TrainingSet, forbidden: Forbidden, replaced: Sequence[int], seed: int
) -> list[int]:
    """Start each replaced prototype as an allowed patch of its class that other classes have not, unlike its siblings.

    Returns:
        Those for which there is such a patch; the others are as they were.
    """
    probe, generator = with_prototypes(network, forbidden.patches), torch.Generator().manual_seed(seed)
    classes, started = network.prototype_classes.cpu(), []
    for owner in sorted({int(classes[number]) for number in replaced}):
        pool, places = _pool(network, setup, forbidden, probe, owner, generator)
        if not len(pool):
            continue
        nearest = _nearest(with_prototypes(network, pool), setup)
        own = positives(setup.plain.labels, len(network.classes))[:, owner]
        worth = nearest[own].mean(0) - nearest[~own].mean(0) if (~own).any() else nearest[own].mean(0)
        among = with_prototypes(network, pool).patch_similarities(pool).cpu()
        near_kept = network.patch_similarities(pool).cpu()
        siblings = [n for n in range(len(classes)) if classes[n] == owner and n not in replaced]
        crowd = near_kept[:, siblings].amax(1) if siblings else torch.zeros(len(pool))
        spread = among.std().clamp_min(1e-6)
        for number in (n for n in replaced if classes[n] == owner):
            best = int((worth / worth.std().clamp_min(1e-6) - crowd / spread).argmax())
            network.set_prototypes(torch.tensor([number], device=setup.device), pool[best : best + 1])
            position, row, column = places[best]
            network.source_positions[number] = position
            network.source_locations[number] = torch.tensor([row, column])
            crowd = torch.maximum(crowd, among[:, best])
            started.append(number)
    return started


def _pool(
    network: Any, setup: TrainingSet, forbidden: Forbidden, probe: Any, owner: int, generator: torch.Generator
) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Draw allowed patches (M, D, k, k) of a class's training images by chance, and where each is from."""
    present = positives(setup.plain.labels, len(network.classes))[:, owner].nonzero().flatten()
    chosen = present[torch.randperm(len(present), generator=generator)][: MOST_STARTS // CELLS]
    high, wide = (side - part + 1 for side, part in zip(network.grid, network.prototypes.shape[2:]))
    patches, places = [], []
    for position in chosen.tolist():
        drawn = torch.randperm(high * wide, generator=generator)[:CELLS].tolist()
        cells = [divmod(cell, wide) for cell in drawn]
        cells = [cell for cell in cells if cell not in forbidden.cells.get(position, ())]
        if cells:
            patches.append(_cut(network, setup, position, cells))
            places += [(position, row, column) for row, column in cells]
    if not patches:
        return network.prototypes.detach()[:0], []
    found = torch.cat(patches)
    allowed = is_allowed(forbidden, probe, found)
    return found[allowed], [place for place, good in zip(places, allowed.tolist()) if good]


def settling(
    network: Any, objective: Objective, forbidden: Forbidden, replaced: Sequence[int], epochs: int, weight: float = 1.0
) -> list[Epochs | Action]:
    """Make the stage in which the replaced prototypes alone settle, under a loss that keeps them off the forbidden."""
    moving = torch.zeros(network.prototype_count, dtype=torch.bool, device=network.prototypes.device)
    moving[list(replaced)] = True
    targets = with_prototypes(network, forbidden.patches)

    def loss(network: Any, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms = objective(network, images, labels)
        # Those that are not replaced rest, whatever the optimiser.
        resting = torch.where(moving.view(-1, 1, 1, 1), network.prototypes, network.prototypes.detach())
        near = targets.patch_similarities(resting[moving]) - forbidden.levels
        terms["forbidden"] = near.relu().amax(1).mean()
        terms["loss"] = terms["loss"] + weight * terms["forbidden"]
        return terms

    return [Epochs("refine", epochs, loss, {"prototypes": 3e-3})] if epochs else []


@torch.no_grad()
def project_allowed(
    network: Any, setup: TrainingSet, forbidden: Forbidden, replaced: Sequence[int]
) -> dict[str, float]:
    """Move each replaced prototype onto the nearest allowed patch of its class's training images.

    Returns:
        ``moved``: mean distance; ``without``: how many found none, and stay as they are.
    """
    probe, wanted = with_prototypes(network, forbidden.patches), torch.tensor(sorted(replaced))
    classes = network.prototype_classes.cpu()[wanted]
    least = torch.full((len(wanted),), torch.inf)
    best: dict[int, tuple[Tensor, int, Tensor]] = {}
    start = 0
    with frozen(network):
        for batch in tqdm(setup.loader(setup.plain), desc="projection", leave=False, disable=not setup.progress):
            candidates = network.candidates(batch["images"].to(setup.device))
            distances = candidates.distances[:, wanted.to(setup.device)].float().cpu()
            fits = has_class(batch["labels"], classes) & (distances < least)
            for image, place in fits.nonzero().tolist():
                if distances[image, place] >= least[place]:
                    continue
                where = torch.tensor([image], device=setup.device), wanted[place : place + 1].to(setup.device)
                location = candidates.locations[where][0].cpu()
                patch = network.cut(candidates, *where)
                if tuple(location.tolist()) in forbidden.cells.get(start + image, ()):
                    continue
                if is_allowed(forbidden, probe, patch)[0]:
                    least[place] = distances[image, place]
                    best[place] = patch, start + image, location
            start += len(distances)
    for place, (patch, position, location) in best.items():
        number = int(wanted[place])
        network.set_prototypes(torch.tensor([number], device=setup.device), patch)
        network.source_positions[number] = position
        network.source_locations[number] = location
    moved = least[least.isfinite()]
    return {"moved": moved.mean().item() if len(moved) else 0.0, "without": float(len(wanted) - len(best))}
