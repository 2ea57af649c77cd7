"""Projection ("push"): every prototype becomes its nearest training patch, and remembers which."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import PrototypeNetwork, frozen
from protomask.training.stages import TrainingSet


@torch.no_grad()
def project(network: PrototypeNetwork, setup: TrainingSet) -> dict[str, float]:
    """Moves every prototype onto the nearest patch of its own class's training images (Chen et al. 2019, known).

    Streams ``setup.plain`` (training images through the evaluation transform) once, in order; a strictly smaller
    distance wins, so the first of equals stays. Memory: one batch's features and (B, P) distances, and the prototypes.
    The network's buffers ``source_positions`` and ``source_locations`` then say where each prototype came from.

    Returns:
        ``mean_distance`` and ``max_distance`` that the prototypes moved, before to after: their distance to the chosen patch.

    Raises:
        InputError: a class has no training image (named); nothing was changed.
    """
    data = setup.plain
    classes = network.prototype_classes.cpu()
    present = set(data.labels.tolist())
    missing = [network.classes[index] for index in sorted(set(classes.tolist()) - present)]
    if missing:
        raise InputError(f"no training image of class {', '.join(missing)}: its prototypes cannot be projected; add images or leave the class out")
    count = len(classes)
    best = torch.full((count,), torch.inf)
    positions = torch.full((count,), -1)
    locations = torch.full((count, 2), -1)
    vectors: list[Tensor | None] = [None] * count
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(data), desc="projection", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            candidates = network.candidates(images)
            distances = candidates.distances.float().cpu()
            own = batch["labels"][:, None] == classes[None, :]
            distances = distances.masked_fill(~own, torch.inf)
            nearest = distances.argmin(0)
            least = distances.gather(0, nearest[None]).squeeze(0)
            for prototype in (least < best).nonzero().flatten().tolist():
                image = int(nearest[prototype])
                vectors[prototype] = network.cut(candidates, image, prototype).clone()
                positions[prototype] = batch["positions"][image]
                locations[prototype] = candidates.locations[image, prototype].cpu()
            best = torch.minimum(best, least)
    index = torch.arange(count, device=setup.device)
    network.set_prototypes(index, torch.stack(vectors).to(setup.device))
    network.source_positions.copy_(positions)
    network.source_locations.copy_(locations)
    return {"mean_distance": best.mean().item(), "max_distance": best.max().item()}
