"""Inspection of prototypes: which other images each is found in, and which are duplicates or background.

The definitions are this project's own, but for the purity, which is the usual one of ranked images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.data.geometry import boxes_of_class
from protomask.explanations.records import Inspection, Neighbour, PrototypePicture
from protomask.freezing import frozen
from protomask.labels import has_class
from protomask.metrics.prototype_sets import discrimination
from protomask.projection import SAME, comparable, mean_squared_distance
from protomask.prototype_network import PrototypeNetwork
from protomask.training.stages import TrainingSet

FLAGS = ("background", "duplicate", "common")
ACTIVE = 0.8
"""An image activates a prototype if it is at least this many times as similar to it as the prototype's own source
image."""
RANKED = 10
"""Purity is taken over this many test images (fewer where the class has fewer)."""
NEAREST = 5
"""Test images that are kept as neighbours of each prototype."""
COMMON = 0.6
"""A prototype is common if its similarity tells its class from others with an AUROC below this on test images."""
OUTSIDE = 0.5
"""A prototype is background if more than this share of its map lies outside the object."""


def inspect_prototypes(
    network: PrototypeNetwork,
    pictures: Sequence[PrototypePicture],
    plain: AnnotatedImages,
    test: AnnotatedImages,
    setup: TrainingSet,
    similarities: Tensor | None = None,
) -> list[Inspection]:
    """Inspect every prototype: one :class:`Inspection` each, in order.

    ``background``: more than ``OUTSIDE`` of the first localizer's map on the source image lies outside the object,
    where a mask or a box that is not the whole image says what the object is; of boxes of single findings those of the
    prototype's own. ``duplicate``: see :func:`twins`.
    ``common``: as similar to images of other classes as to those of its own, which tells background where no mask or
    box does. One forward pass over ``test`` unless ``similarities`` are given; memory (N, P) float32. Several processes
    share the work, each has the result.

    Args:
        network: projected, on ``setup.device``.
        pictures: of every prototype, in order.
        plain: the training images that it was projected to, with the evaluation transform.
        test: images that had no part in training, with the evaluation transform.
        setup: batches and machine.
        similarities: (N, P) of the images of ``test``, where they are known already.
    """
    if similarities is None:
        similarities = similarities_to(network, test, setup)
    own = has_class(test.labels, network.prototype_classes.cpu())
    powers = discrimination(similarities, own).tolist()
    outside = shares_outside(pictures, plain, network.source_positions.tolist(), network.prototype_classes.tolist())
    found = []
    for prototype, (picture, twin) in enumerate(zip(pictures, twins(network))):
        column, mine = similarities[:, prototype], own[:, prototype]
        # What is not even like its own source is found nowhere, not wherever it is as unlike.
        active = (column >= ACTIVE * picture.record.similarity) & (column > 0)
        order = column.argsort(descending=True, stable=True).tolist()
        ranked = min(RANKED, int(mine.sum()))
        shares = outside[prototype]
        flags = [
            flag
            for flag, holds in (
                ("background", next(iter(shares.values()), 0.0) > OUTSIDE),
                ("duplicate", twin is not None),
                ("common", powers[prototype] < COMMON),
            )
            if holds
        ]
        found.append(
            Inspection(
                prototype=prototype,
                activated=int(active.sum()) if len(test) else None,
                images=len(test),
                discrimination=None if math.isnan(powers[prototype]) else powers[prototype],
                purity=mine[order[:ranked]].double().mean().item() if ranked else None,
                ranked=ranked,
                nearest=tuple(
                    Neighbour(
                        test.names[place], place, class_names(test, place), bool(mine[place]), column[place].item()
                    )
                    for place in order[:NEAREST]
                ),
                outside=shares,
                twin=twin,
                flags=tuple(flags),
            )
        )
    return found


def similarities_to(network: PrototypeNetwork, data: AnnotatedImages, setup: TrainingSet) -> Tensor:
    """Compute the (N, P) similarities of all images of ``data``, on the CPU; several processes share the work."""
    share = data.subset(distributed.shard(len(data), setup.batch_size))
    found = [torch.zeros(0, network.prototype_count, dtype=torch.float32)]
    with frozen(network), torch.inference_mode(), setup.autocast():
        for batch in tqdm(setup.loader(share), desc="neighbours", leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            found.append(network(images).similarities.float().cpu())
    return distributed.gather_rows(torch.cat(found))


def class_names(data: AnnotatedImages, position: int) -> str:
    """Name the class of an image, or its findings."""
    truth = data.truth(position)
    return truth if isinstance(truth, str) else ", ".join(truth)


def shares_outside(
    pictures: Sequence[PrototypePicture], plain: AnnotatedImages, positions: Sequence[int], classes: Sequence[int]
) -> list[dict[str, float]]:
    """Compute each map's share outside the object, per prototype and localizer; empty where it is not known.

    The object is what :func:`object_region` finds. A blank map lies nowhere and is left out; where the first
    localizer's is blank nothing is known, for it is by this one that a prototype is judged. Several processes share the
    work.

    Args:
        pictures: of every prototype.
        plain: the images that they are from.
        positions: of each prototype's image in ``plain``.
        classes: each prototype's own.
    """

    def shares(place: int) -> dict[str, float]:
        region = object_region(plain[positions[place]], classes[place])
        if region is None:
            return {}
        maps = pictures[place].maps
        found = {name: _share(saliency, ~region) for name, saliency in maps.items() if saliency.sum() > 0}
        return found if next(iter(maps), None) in found else {}

    return distributed.share_out(range(len(pictures)), shares)


def object_region(sample: Mapping, number: int) -> np.ndarray | None:
    """Find the object of one class in a transformed sample, (H, W) bool; None where it is not known.

    It is the mask where the data have one, else the boxes: of boxes of single findings those of class ``number``, for
    the object of another is beside its own. Where that has no box nothing is known, as with an empty mask, and with
    boxes that cover nearly all of the image (cropped data).
    """
    height, width = sample["image"].shape[-2:]
    if "mask" in sample:
        region = sample["mask"].as_subclass(Tensor)[0].bool().numpy()
    else:
        region = np.zeros((height, width), bool)
        boxes = boxes_of_class(sample["boxes"].as_subclass(Tensor), sample.get("box_labels"), number)
        for x0, y0, x1, y1 in boxes.round().long().tolist():
            region[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return region if 0 < region.mean() < 0.95 else None


def _share(saliency: np.ndarray, region: np.ndarray) -> float:
    return float((saliency * region).sum() / float(saliency.sum()))


def twins(network: PrototypeNetwork) -> list[int | None]:
    """Find for each prototype the one of the same class that makes it superfluous, or None.

    Two are the same if their squared distance (of unit vectors, where the network compares by cosine) is at most
    ``SAME`` times its mean over all pairs; it is 0 if they were projected to the same patch. Of a group of them the one
    with the greatest weight to its class is nobody's duplicate.
    """
    vectors = comparable(network.prototypes.detach().cpu(), network)
    count = len(vectors)
    near = torch.cdist(vectors, vectors).square() <= SAME * mean_squared_distance(vectors)
    classes = network.prototype_classes.cpu()
    near &= classes[:, None] == classes
    weights = network.last_layer.weight.detach().cpu()[classes, torch.arange(count)]
    found: list[int | None] = [None] * count
    kept: list[int] = []
    for prototype in weights.argsort(descending=True, stable=True).tolist():
        found[prototype] = next((other for other in kept if near[prototype, other]), None)
        if found[prototype] is None:
            kept.append(prototype)
    return found


def nearest_maps(
    network: PrototypeNetwork, inspections: Sequence[Inspection], test: AnnotatedImages, setup: TrainingSet
) -> np.ndarray:
    """Compute similarity maps of every prototype on its nearest test images, each divided by its maximum.

    (P, K, h, w) float32.

    An image that several prototypes share goes through the network once. Several processes share the images.
    """
    wanted: dict[int, list[tuple[int, int]]] = {}
    for each in inspections:
        for rank, neighbour in enumerate(each.nearest):
            wanted.setdefault(neighbour.position, []).append((each.prototype, rank))
    most = max((len(each.nearest) for each in inspections), default=0)
    positions = sorted(wanted)
    mine = distributed.shard(len(positions), setup.batch_size)
    places: list[tuple[int, int]] = []
    found: list[np.ndarray] = []
    with frozen(network), torch.inference_mode():
        for start in tqdm(
            range(mine.start, mine.stop, setup.batch_size),
            desc="neighbours' maps",
            leave=False,
            disable=not setup.progress,
        ):
            some = positions[start : min(start + setup.batch_size, mine.stop)]
            images = collate([test[position] for position in some])["images"].to(
                setup.device, memory_format=torch.channels_last
            )
            maps = network.similarity_maps(images).float().cpu().numpy()
            for place, position in enumerate(some):
                for prototype, rank in wanted[position]:
                    chosen = np.maximum(maps[place, prototype], 0)
                    places.append((prototype, rank))
                    found.append(chosen / max(float(chosen.max()), 1e-12))
    everybody = [part for part in distributed.gather((places, np.array(found, np.float32))) if part[0]]
    if not everybody:
        return np.zeros((len(inspections), 0, 1, 1), np.float32)
    all_maps = np.zeros((len(inspections), most, *everybody[0][1].shape[1:]), np.float32)
    for places, rows in everybody:
        all_maps[tuple(np.array(places).T)] = rows
    return all_maps
