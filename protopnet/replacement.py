"""Prototypes that tell classes apart in the place of those that every image has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.freezing import frozen
from protomask.labels import has_class, positives
from protomask.metrics.prototype_sets import discrimination
from protomask.training import TrainingSet
from protomask.training.object_patches import allowed_patches
from protopnet.model import ProtoPNet

COMMON = 0.7
"""A prototype is replaced if its similarity tells its class from others with an AUROC below this."""
IMAGES = 1024
"""training images that are looked at, as many of each class as can be"""
CANDIDATES = 256
"""patches of each class among which replacements are chosen"""
ALIKE = 0.5
"""greatest cosine of a replacement to another prototype of its class, where there is a choice"""


@torch.no_grad()
def replace_common(network: ProtoPNet, setup: TrainingSet) -> dict[str, int]:
    """Replace prototypes that are as similar to images of other classes as to those of their own (ours).

    Such a prototype lies on background, or on what all classes share; once it is there, no gradient leads away. In its
    place comes the patch, of ``CANDIDATES`` drawn from images of its class, that tells the class from others best and
    is unlike the class's other prototypes. One pass over at most ``IMAGES`` training images, whose feature maps are
    kept meanwhile. Every process computes the same. With ``setup.on_object`` a prototype whose nearest patches mostly
    are beside the object is replaced, too, and all by patches on the object.

    Returns:
        ``replaced``: how many.
    """
    generator = torch.Generator().manual_seed(setup.seed)
    owners = network.prototype_classes.cpu()
    chosen = balanced_choice(setup.plain.labels, len(network.classes), IMAGES, generator)
    features, allowed = _feature_maps(network, setup, chosen)
    labels = setup.plain.labels[chosen]
    powers = discrimination_on(network, network.prototypes.cpu(), features, labels, owners)
    if setup.on_object:
        powers = powers.masked_fill(_mostly_beside(network, features, allowed, has_class(labels, owners)), -1.0)
    replaced = 0
    for label in range(len(network.classes)):
        mine = (owners == label).nonzero().flatten()
        poor = mine[powers[mine] < COMMON]
        if not len(poor):
            continue
        has = positives(labels, len(network.classes))[:, label]
        patches = _draw_patches(features[has], allowed[has], network, generator)
        if not len(patches):
            continue
        scores = discrimination_on(network, patches, features, labels, torch.full((len(patches),), label))
        taken = [network.prototypes[each].cpu() for each in mine if each not in poor]
        for prototype in poor.tolist():
            best = _best(patches, scores, taken)
            if scores[best] <= powers[prototype]:
                continue
            network.set_prototypes(torch.tensor([prototype]), patches[best : best + 1].to(setup.device))
            taken.append(patches[best])
            replaced += 1
    return {"replaced": replaced}


def discrimination_on(
    network: ProtoPNet, prototypes: Tensor, features: Tensor, labels: Tensor, owners: Tensor
) -> Tensor:
    """Compute how well each prototype tells its class from the others: AUROC, NaN where it cannot be told.

    Args:
        network: whose similarity is meant.
        prototypes: (P, D, k, k).
        features: (N, D, h, w), after the add-on.
        labels: (N,), or (N, C) findings.
        owners: (P,) class of each prototype.

    Returns:
        (P,) in [0, 1].
    """
    scores = torch.cat([-network.patch_distances(some, prototypes).flatten(2).amin(2) for some in features.split(64)])
    return discrimination(scores, has_class(labels, owners))


def balanced_choice(labels: Tensor, classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Choose at most ``count`` images in ascending order, as many of each class or finding as can be; (n,) long."""
    if len(labels) <= count:
        return torch.arange(len(labels))
    share = max(1, count // classes)
    own = positives(labels, classes)
    parts = []
    for label in range(classes):
        places = own[:, label].nonzero().flatten()
        parts.append(places[torch.randperm(len(places), generator=generator)[:share]])
    return torch.cat(parts).unique()[:count]


def _feature_maps(network: ProtoPNet, setup: TrainingSet, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Compute feature maps (n, D, h, w) float32 of training images, and which patches prototypes may become (n, h - k
    + 1, w - k + 1) bool, on the CPU."""
    found, allowed, size = [], [], network.prototypes.shape[2:]
    with frozen(network), setup.autocast():
        loader = setup.loader(setup.plain.subset(chosen.tolist()))
        for batch in tqdm(loader, desc="replacement", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            found.append(network.features(images).float().cpu())
            patches = [len(images), *(cells - patch + 1 for cells, patch in zip(found[-1].shape[2:], size))]
            free = torch.ones(patches, dtype=torch.bool)
            allowed.append(allowed_patches(network, batch) if setup.on_object else free)
    return torch.cat(found), torch.cat(allowed)


def _mostly_beside(network: ProtoPNet, features: Tensor, allowed: Tensor, own: Tensor) -> Tensor:
    """Tell whose nearest patch is beside the object in more than half of the images of its class.

    Args:
        features: (N, D, h, w), after the add-on.
        allowed: (N, h', w') bool, the patches on the object.
        own: (N, P) bool, which images are of a prototype's class.

    Returns:
        (P,) bool.
    """
    prototypes = network.prototypes.cpu()
    places = torch.cat([network.patch_distances(some, prototypes).flatten(2).argmin(2) for some in features.split(64)])
    on = allowed.flatten(1).gather(1, places)
    return (on & own).sum(0) * 2 < own.sum(0)


def _draw_patches(features: Tensor, allowed: Tensor, network: ProtoPNet, generator: torch.Generator) -> Tensor:
    """Draw ``CANDIDATES`` patches (n, D, k, k) of feature maps (N, D, h, w), of those ``allowed``; fewer where there
    are not so many."""
    rows, columns = network.prototypes.shape[2:]
    windows = features.unfold(2, rows, 1).unfold(3, columns, 1).permute(0, 2, 3, 1, 4, 5)[allowed]
    return windows[torch.randperm(len(windows), generator=generator)[:CANDIDATES]].contiguous()


def _best(patches: Tensor, scores: Tensor, taken: list[Tensor]) -> int:
    """Choose the patch of the best score among those unlike all that are taken; among all where none is."""
    if taken:
        alike = F.normalize(patches.flatten(1), dim=1) @ F.normalize(torch.stack(taken).flatten(1), dim=1).T
        free = alike.amax(1) <= ALIKE
        scores = scores.masked_fill(~free, -1.0) if free.any() else scores
    return int(scores.argmax())
