"""Does a localizer reveal a planted shortcut? Detection on ``parts`` with a tag on one class
(:mod:`protomask.data.shortcut`).

That a prototype looks at the tag is not assumed but measured: taking off the tag costs more of its similarity than
taking off any part of the creature, everything else equal. A localizer *detects* the shortcut in an image if its map
points at the tag; it raises a *false alarm* if it points at the tag for a prototype whose similarity does not depend on
it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.data import collate
from protomask.data.shortcut import TaggedParts
from protomask.errors import InputError
from protomask.evaluation.pairs import Pairs, device_of, require_similarities
from protomask.freezing import frozen
from protomask.metrics.localization import TOLERANCE, energy_pointing, pointing_game
from protomask.prototype_network import PrototypeNetwork
from protomask.statistics import bootstrap_mean, wilson

LEAST = 0.05
"""Of its similarity a prototype must lose so much without the tag to look at it; one that changes by less does not
depend on it."""


class TagPairs(NamedTuple):
    """One pair per tagged image of each kind, where there is one."""

    looking: Pairs
    """with the own-class prototype that loses most without the tag, out of those whose main cause the tag is"""
    not_looking: Pairs
    """with the most similar prototype of any class that does not depend on the tag"""
    images: int
    """tagged images"""
    accuracy: tuple[float, float]
    """of the tagged images, with and without their tag"""


def tag_pairs(
    network: PrototypeNetwork, data: TaggedParts, *, device: torch.device | str | None = None, batch_size: int = 32
) -> TagPairs:
    """Tell which prototypes look at the tag in which images of the tagged class.

    Args:
        network: trained on images with the tag. Left as it was.
        data: with the evaluation transform.

    Raises:
        InputError: the data has no tag; a similarity is NaN.
    """
    if not isinstance(data, TaggedParts):
        raise InputError("the data has no planted tag; open it with load_data('parts', shortcut=LABEL)")
    positions = (data.labels == data.tagged).nonzero().flatten()
    device = device or device_of(network)
    # As it is, without the tag, without each part.
    views: list[Callable[[int], Any]] = [
        data.__getitem__,
        data.without_tag,
        *(partial(data.without_part, part=part) for part in range(len(data.part_names))),
    ]
    similarities, logits = [], []
    with frozen(network), torch.no_grad():
        for view in views:
            found = [
                network(collate([view(position) for position in part.tolist()])["images"].to(device))
                for part in positions.split(batch_size)
            ]
            similarities.append(torch.cat([each.similarities for each in found]).float().cpu())
            logits.append(torch.cat([each.logits for each in found]).cpu())
    for each in similarities:
        require_similarities(each, data, positions.tolist())
    with_it, without_it = (float(each.argmax(1).eq(data.tagged).float().mean()) for each in logits[:2])
    with_tag = similarities[0]
    fall, *falls = ((with_tag - each) / with_tag.clamp(min=1e-6) for each in similarities[1:])
    main = (fall >= LEAST) & (fall > torch.stack(falls).amax(0)) & (with_tag > 0)
    own = network.prototype_classes.cpu() == data.tagged
    looking = _best(fall.masked_fill(~(own & main), -torch.inf))
    not_looking = _best(with_tag.masked_fill((fall.abs() >= LEAST) | (with_tag <= 0), -torch.inf))
    on_tag, elsewhere = (Pairs(positions[which >= 0], which[which >= 0]) for which in (looking, not_looking))
    return TagPairs(on_tag, elsewhere, len(positions), (with_it, without_it))


def detect(
    network: PrototypeNetwork,
    data: TaggedParts,
    localizers: dict[str, Callable],
    pairs: TagPairs,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> list[dict]:
    """Give rows ``localizer``, ``detected``, ``false_alarms`` (shares of the pairs, each with a Wilson interval), and
    ``energy``: the share of the map on the tag where the prototype looks at it (with a bootstrap interval); an interval
    is (low, high).

    Pointing is the pointing game: the maximum lies on the tag or within 15 pixels of it at 224 x 224.
    """
    device, rows = device or device_of(network), []
    with tqdm(total=2 * len(localizers), desc="shortcut", unit="method", disable=not progress) as bar:
        for name, localizer in localizers.items():
            row: dict = {"localizer": name}
            for kind, group in (("detected", pairs.looking), ("false_alarms", pairs.not_looking)):
                hits, energy = _at_tag(network, data, localizer, group, device, batch_size)
                share = float(hits.mean()) if len(hits) else None
                row |= {
                    kind: share,
                    f"{kind}_interval": None if share is None else wilson(share, len(hits)),
                    f"{kind}_n": len(hits),
                }
                if kind == "detected":
                    mean = bootstrap_mean(energy).within(0.0, 1.0) if len(energy) else None
                    row |= {"energy": mean and mean.mean, "energy_interval": mean and (mean.low, mean.high)}
                bar.update()
            rows.append(row)
    return rows


def _at_tag(
    network: PrototypeNetwork,
    data: TaggedParts,
    localizer: Callable,
    pairs: Pairs,
    device: torch.device | str,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Tell whether each map points at the tag (0 or 1), and how much of it lies there, (n,) each."""
    if not len(pairs):
        return torch.empty(0, dtype=torch.float32), torch.empty(0, dtype=torch.float32)
    hits, energy = [], []
    for positions, index in zip(pairs.positions.split(batch_size), pairs.prototypes.split(batch_size)):
        images = collate([data[position] for position in positions.tolist()])["images"].to(device)
        tags = torch.stack([data.tag_mask(position) for position in positions.tolist()])
        saliency = localizer(network, images, index.to(device)).cpu()
        hits.append(pointing_game(saliency, tags, tolerance=TOLERANCE * min(saliency.shape[1:]) / 224))
        energy.append(energy_pointing(saliency, tags))
    return torch.cat(hits), torch.cat(energy)


def _best(values: Tensor) -> Tensor:
    """Find the column of each row's greatest value, -1 where all are -inf."""
    return torch.where(values.amax(1) > -torch.inf, values.argmax(1), -1)
