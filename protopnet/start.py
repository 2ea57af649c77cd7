"""Prototypes that start as patches of their own class instead of noise."""

from __future__ import annotations

import torch
from tqdm import tqdm

from protomask.explainable import frozen
from protomask.training import TrainingSet
from protopnet.model import ProtoPNet


@torch.no_grad()
def start_from_patches(network: ProtoPNet, setup: TrainingSet) -> dict[str, int]:
    """Sets each prototype to a random patch of a random training image of its class (ours; the paper starts from noise).

    With a pretrained backbone the patches mean something already, so the warm stage starts near the data. One pass over
    ``setup.plain``; memory of one batch. Classes with fewer images than prototypes use an image more than once.

    Returns:
        ``images``: how many different images were used.
    """
    generator = torch.Generator().manual_seed(setup.seed)
    data, classes = setup.plain, network.prototype_classes.cpu()
    wanted: dict[int, list[int]] = {}
    for label in range(len(network.classes)):
        own = (data.labels == label).nonzero().flatten()
        order = own[torch.randperm(len(own), generator=generator)].tolist()
        for place, prototype in enumerate((classes == label).nonzero().flatten().tolist()):
            if order:
                wanted.setdefault(order[place % len(order)], []).append(prototype)
    chosen = data.subset(sorted(wanted))
    source = torch.tensor(sorted(wanted))
    size = network.prototypes.shape[-1]
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(chosen), desc="start", leave=False, disable=not setup.progress):
            features = network.features(batch["images"].to(setup.device, memory_format=torch.channels_last)).float()
            for place, position in enumerate(source[batch["positions"]].tolist()):
                for prototype in wanted[position]:
                    row = int(torch.randint(features.shape[2] - size + 1, (), generator=generator))
                    column = int(torch.randint(features.shape[3] - size + 1, (), generator=generator))
                    patch = features[place, :, row:row + size, column:column + size]
                    network.set_prototypes(torch.tensor([prototype], device=features.device), patch[None])
    return {"images": len(wanted)}
