"""Patches of training images: cut, and compared with what all training images have.

*Like a patch* r is (ours) a patch z with sim(z, r) >= l(r), halfway between sim(r, r) and the median over the training
images of other classes of what comes nearest to r in them: where every image holds something like r, next to nothing is
like it by this measure.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask.freezing import frozen
from protomask.labels import positives
from protomask.prototype_network import Candidates
from protomask.training.stages import TrainingSet

Cell = tuple[int, int, int]
"""training image, row and column"""


def with_prototypes(network: Any, patches: Tensor) -> Any:
    """Copy a network so that its prototypes are ``patches`` (N, D, k, k); only distances can be asked of it."""
    probe = copy.deepcopy(network)
    probe.prototypes = nn.Parameter(patches.detach().clone().to(network.prototypes), requires_grad=False)
    return probe


def source_of(network: Any, number: int) -> Cell:
    """Tell which cell a prototype is from."""
    row, column = network.source_locations[number].tolist()
    return int(network.source_positions[number]), row, column


def cut_cells(network: Any, setup: TrainingSet, cells: Sequence[Cell]) -> Tensor:
    """Cut the patches (N, D, k, k) of training images that begin at ``cells``, in their order."""
    of_image: dict[int, list[int]] = {}
    for place, (position, _, _) in enumerate(cells):
        of_image.setdefault(position, []).append(place)
    found = torch.zeros(
        len(cells), *network.prototypes.shape[1:], device=network.prototypes.device, dtype=network.prototypes.dtype
    )
    for position, places in of_image.items():
        where = torch.tensor([cells[place][1:] for place in places], device=setup.device)[None]
        image = setup.plain[position]["image"][None].to(setup.device)
        with torch.no_grad(), frozen(network):
            features = network.candidates(image).patches
        index = torch.arange(len(places), device=setup.device)
        found[places] = network.cut(Candidates(where[..., 0], where, features), torch.zeros_like(index), index).to(
            found
        )
    return found


@torch.no_grad()
def nearest_in_images(probe: Any, setup: TrainingSet) -> Tensor:
    """Similarity of what comes nearest to each of the probe's prototypes in each training image: (N, F)."""
    rows = []
    with frozen(probe), setup.autocast():
        for batch in tqdm(setup.loader(setup.plain), desc="compare", leave=False, disable=not setup.progress):
            distances = probe.candidates(batch["images"].to(setup.device)).distances
            rows.append(probe.similarity(distances).float().cpu())
    return torch.cat(rows)


@torch.no_grad()
def levels_of(network: Any, setup: TrainingSet, patches: Tensor, owners: Sequence[Sequence[int]]) -> Tensor:
    """Find from which similarity on a patch is like each of ``patches`` (F, D, k, k), (F,).

    Args:
        owners: the class, or the classes, that each patch stands for: it is compared with the images that have none.
    """
    probe = with_prototypes(network, patches)
    nearest = nearest_in_images(probe, setup)  # (N, F)
    alike = probe.patch_similarities(patches).diagonal().cpu()
    present = positives(setup.plain.labels, len(network.classes))
    others = torch.stack([nearest[~present[:, list(each)].any(1), place].median() for place, each in enumerate(owners)])
    return ((alike + others.nan_to_num(0.0)) / 2).to(patches.device)


def classes_in(network: Any, setup: TrainingSet, position: int) -> list[int]:
    """List the classes of a training image: one, or its findings, of which there may be none."""
    label = setup.plain.labels[position : position + 1]
    return positives(label, len(network.classes))[0].nonzero().flatten().tolist()
