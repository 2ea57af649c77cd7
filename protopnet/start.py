"""A start from data, with a pretrained backbone: principal components as add-on, patches as prototypes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from protomask import distributed
from protomask.freezing import frozen
from protomask.labels import positives
from protomask.training import TrainingSet
from protomask.training.object_patches import allowed_patches
from protopnet.model import ProtoPNet


@torch.no_grad()
def start_from_data(network: ProtoPNet, setup: TrainingSet) -> dict[str, float]:
    """Set the add-on to principal components (cosine only), then the prototypes to patches.

    Ours; the paper starts from noise.
    """
    row = principal_add_on(network, setup) if network.similarity_kind == "cosine" else {}
    return {**row, **start_from_patches(network, setup)}


@torch.no_grad()
def principal_add_on(network: ProtoPNet, setup: TrainingSet) -> dict[str, float]:
    """Set the linear add-on to the D first principal components of the backbone's features, mean taken out.

    Cosines between centred features tell patches apart from the first step on; a random projection of features that are
    all positive makes every patch alike. One pass over ``setup.plain``, which several processes share;
    memory of one batch and a (C, C) matrix.

    Returns:
        ``variance_kept``: share of the variance within the D components, in [0, 1].
    """
    channels = network.backbone.channels
    total, product, count = 0.0, 0.0, 0
    share = setup.plain.subset(distributed.shard(len(setup.plain), setup.batch_size))
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(share), desc="start", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            features = network.backbone(images).transpose(0, 1).flatten(1).double()
            total, product, count = (
                total + features.sum(1).cpu(),
                product + (features @ features.T).cpu(),
                count + features.shape[1],
            )
    total, product, count = (sum(parts) for parts in zip(*distributed.gather((total, product, count))))
    mean = total / count
    values, vectors = torch.linalg.eigh(product / count - torch.outer(mean, mean))
    convolution = network.add_on[0]
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None  # the cosine's usual add-on
    kept = min(convolution.out_channels, channels)
    weight = vectors.T.flip(0)[:kept]
    # An eigenvector's sign is arbitrary; this one does not depend on the machine.
    weight = weight * weight.gather(1, weight.abs().argmax(1, keepdim=True)).sign()
    convolution.weight[:kept] = weight[:, :, None, None].to(convolution.weight)
    convolution.bias[:kept] = -(weight @ mean).to(convolution.bias)
    return {"variance_kept": (values.flip(0)[:kept].sum() / values.sum()).item()}


@torch.no_grad()
def start_from_patches(network: ProtoPNet, setup: TrainingSet) -> dict[str, int]:
    """Set each prototype to a patch of a random training image of its class (ours; the paper starts from noise).

    The patch is drawn from the quarter of positions where the backbone's features are strongest: elsewhere is
    background, whose patches look alike in all images, and prototypes that start there match everything. One forward
    pass over as many images as there are prototypes; memory of one batch. Classes with fewer images than prototypes use
    an image more than once.

    Returns:
        ``images``: how many different images were used.
    """
    generator = torch.Generator().manual_seed(setup.seed)
    data, classes = setup.plain, network.prototype_classes.cpu()
    owners = positives(data.labels, len(network.classes))
    wanted: dict[int, list[int]] = {}
    for label in range(len(network.classes)):
        own = owners[:, label].nonzero().flatten()
        order = own[torch.randperm(len(own), generator=generator)].tolist()
        for place, prototype in enumerate((classes == label).nonzero().flatten().tolist()):
            if order:
                wanted.setdefault(order[place % len(order)], []).append(prototype)
    chosen = data.subset(sorted(wanted))
    source = torch.tensor(sorted(wanted))
    size = network.prototypes.shape[-1]
    with frozen(network), setup.autocast():
        for batch in tqdm(setup.loader(chosen), desc="start", leave=False, disable=not setup.progress):
            grid = network.backbone(batch["images"].to(setup.device, memory_format=torch.channels_last))
            energy = F.avg_pool2d(grid.float().square().sum(1), size, stride=1)
            if setup.on_object:
                allowed = allowed_patches(network, batch)
                energy = energy.masked_fill(~allowed.to(energy.device), -torch.inf)
            features = network.add_on(grid).float()
            for place, position in enumerate(source[batch["positions"]].tolist()):
                count = int((energy[place] > -torch.inf).sum())
                strongest = energy[place].flatten().topk(-(-count // 4)).indices.tolist()
                for prototype in wanted[position]:
                    where = strongest[int(torch.randint(len(strongest), (), generator=generator))]
                    row, column = divmod(where, energy.shape[2])
                    patch = features[place, :, row : row + size, column : column + size]
                    network.set_prototypes(torch.tensor([prototype], device=features.device), patch[None])
    return {"images": len(wanted)}
