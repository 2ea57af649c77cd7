"""Projection ("push"): every prototype becomes its nearest training patch, and remembers which."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.labels import has_class, positives
from protomask.prototype_network import PrototypeNetwork
from protomask.training.stages import TrainingSet


class _Nearest(NamedTuple):
    """Hold the nearest patch found so far for each of P prototypes; distance infinite where none was seen."""

    distances: Tensor
    """(P,)"""
    positions: Tensor
    """(P,) long, the training image"""
    locations: Tensor
    """(P, 2) long, row and column of the patch"""
    patches: Tensor | None
    """(P, D, k, k); None before the first image"""

    def improve(
        self, index: Tensor, distances: Tensor, positions: Tensor, locations: Tensor, patches: Tensor
    ) -> _Nearest:
        """Take in what was found for the prototypes ``index`` (N,); changes its tensors in place."""
        kept = (
            self.patches if self.patches is not None else patches.new_zeros((len(self.distances), *patches.shape[1:]))
        )
        for held, found in zip(
            (self.distances, self.positions, self.locations, kept), (distances, positions, locations, patches)
        ):
            held[index] = found
        return self._replace(patches=kept)


@torch.no_grad()
def project(network: PrototypeNetwork, setup: TrainingSet) -> dict[str, float]:
    """Move every prototype onto the nearest patch of its own class's training images (Chen et al. 2019, known).

    With several findings per image: of the training images that have the prototype's finding.

    Streams ``setup.plain`` (training images through the evaluation transform) once, in order; a strictly smaller
    distance wins, so the first of equals stays. Memory: one batch's features and (B, P) distances, and the prototypes,
    whatever the number of images. Several processes take a block of whole batches each, and find what one would.
    The network's buffers ``source_positions`` and ``source_locations`` then say where each prototype came from.

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
    nearest = _merge(distributed.gather(_search(network, setup)), len(classes))
    index = torch.arange(len(classes), device=setup.device)
    assert nearest.patches is not None  # every class has an image
    network.set_prototypes(index, nearest.patches.to(setup.device))
    network.source_positions.copy_(nearest.positions)
    network.source_locations.copy_(nearest.locations)
    return {"mean_distance": nearest.distances.mean().item(), "max_distance": nearest.distances.max().item()}


def _search(network: PrototypeNetwork, setup: TrainingSet) -> _Nearest:
    """Find the nearest patches in this process's share of the images, on the CPU."""
    data, classes = setup.plain, network.prototype_classes.cpu()
    share = distributed.shard(len(data), setup.batch_size)
    nearest = _nothing(len(classes))
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(data.subset(share)), desc="projection", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            candidates = network.candidates(images)
            distances = candidates.distances.float().cpu()
            distances = distances.masked_fill(~has_class(batch["labels"], classes), torch.inf)
            least, image = (
                distances.min(0).values,
                distances.argmin(0),
            )  # argmin: the first of equals; min does not promise it
            index = (least < nearest.distances).nonzero().flatten()
            if len(index):
                chosen = image[index]
                where = chosen.to(setup.device), index.to(setup.device)
                nearest = nearest.improve(
                    index,
                    least[index],
                    batch["positions"][chosen] + share.start,
                    candidates.locations[where].cpu(),
                    network.cut(candidates, *where).float().cpu(),
                )
    return nearest


def _nothing(count: int) -> _Nearest:
    return _Nearest(torch.full((count,), torch.inf), torch.full((count,), -1), torch.full((count, 2), -1), None)


def _merge(shares: list[_Nearest], count: int) -> _Nearest:
    """Merge the nearest of all shares; the first of equals, as the shares are in the order of the images."""
    merged = _nothing(count)
    for share in shares:
        index = (share.distances < merged.distances).nonzero().flatten()
        if len(index) and share.patches is not None:
            merged = merged.improve(
                index, share.distances[index], share.positions[index], share.locations[index], share.patches[index]
            )
    return merged
