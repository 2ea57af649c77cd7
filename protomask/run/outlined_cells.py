"""Patches of the feature map within the outline of a learned mask, or within what a person outlined.

Each is named by the cell at which it begins; where a patch has one cell, that is the patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explanations.records import PrototypePicture
from protomask.report.evidence import find_evidence
from protomask.run.review import Region
from protomask.training.patches import Cell

Place = tuple[int, int]
"""row and column"""
_SIDE = 256


def cells_of_masks(network: Any, pictures: Sequence[PrototypePicture], prototypes: Iterable[int]) -> list[Cell]:
    """List the patches at least half of which is in the evidence that learned masks outline.

    Args:
        pictures: of all prototypes.
        prototypes: whose masks count, in their source images.
    """
    found = []
    for number in prototypes:
        picture = pictures[number]
        nothing, size = picture.nothing_to_keep, picture.image.shape[:2]
        region = find_evidence(next(iter(picture.maps.values())), size=size, nothing_to_keep=nothing).marked
        position = int(network.source_positions[picture.record.prototype])
        inside = _half_inside(_shares(network, region), network.prototypes.shape[2:])
        found += [(position, row, column) for row, column in inside]
    return found


def cells_of_regions(network: Any, regions: Iterable[Region]) -> list[Cell]:
    """List the patches at least half of which is within what people outlined in the prototypes' source images.

    Of an outline that is smaller than that the patch that holds most of it; of several the one whose middle it is in.

    Raises:
        InputError: an outline that holds nothing of the image.
    """
    return [cell for region in regions for cell in _cells_of_region(network, region)]


def cells_covering_regions(network: Any, regions: Iterable[Region]) -> list[Cell]:
    """List the patches that cover any cell of what people outlined; of patches of one cell the outlined cells alone.

    Raises:
        InputError: an outline that holds nothing of the image.
    """
    return [cell for region in regions for cell in _cells_of_region(network, region, any_part=True)]


def _cells_of_region(network: Any, region: Region, any_part: bool = False) -> list[Cell]:
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(canvas).polygon([(x * _SIDE, y * _SIDE) for x, y in region.corners], fill=255)
    position = int(network.source_positions[region.prototype])
    found = (_touching if any_part else _holding)(network, np.asarray(canvas) > 0)
    if not found:
        raise InputError(
            f"what {region.by} outlined for prototype {region.prototype} holds nothing of its picture; withdraw it, "
            "and outline a part of the picture"
        )
    return [(position, row, column) for row, column in found]


def _holding(network: Any, inside: np.ndarray) -> list[Place]:
    """Patches at least half of which is inside, (H, W) bool, or the one that holds most of it."""
    shares, size = _shares(network, inside), network.prototypes.shape[2:]
    return _half_inside(shares, size) or _most_inside(shares, size)


def _touching(network: Any, inside: np.ndarray) -> list[Place]:
    """Patches that hold a cell at least half of which is inside, (H, W) bool, or the cell that holds most of it."""
    shares = _shares(network, inside)
    outlined = torch.zeros_like(shares)
    for row, column in _half_inside(shares, (1, 1)) or _most_inside(shares, (1, 1)):
        outlined[row, column] = 1
    found = F.max_pool2d(outlined[None], tuple(network.prototypes.shape[2:]), stride=1)[0] > 0
    return [(row, column) for row, column in found.nonzero().tolist()]


def _shares(network: Any, inside: np.ndarray) -> Tensor:
    """Share of each cell of the feature map that is inside, (h, w)."""
    weights = torch.from_numpy(inside.astype(np.float32))[None, None]
    return F.adaptive_avg_pool2d(weights, network.grid)[0, 0]


def _half_inside(shares: Tensor, size: Sequence[int]) -> list[Place]:
    """Patches of ``size`` cells, by where they begin, whose share is at least half."""
    whole = F.avg_pool2d(shares[None], (size[0], size[1]), stride=1)[0]
    return [(row, column) for row, column in (whole >= 0.5).nonzero().tolist()]


def _most_inside(shares: Tensor, size: Sequence[int]) -> list[Place]:
    """Patch of ``size`` cells that has the greatest share; none where nothing is inside."""
    whole = F.avg_pool2d(shares[None], (size[0], size[1]), stride=1)[0]
    if not whole.max() > 0:
        return []
    # An outline that is smaller than a patch is within several: that is meant in whose middle it lies.
    parts = shares.unfold(0, size[0], 1).unfold(1, size[1], 1)
    down, across = (torch.arange(cells) - (cells - 1) / 2 for cells in size)
    beside = (parts * down[:, None]).sum((2, 3)) ** 2 + (parts * across).sum((2, 3)) ** 2
    found = (whole >= whole.max() - 1e-6).nonzero().tolist()
    row, column = min(found, key=lambda place: (round(beside[tuple(place)].item(), 6), -whole[tuple(place)].item()))
    return [(row, column)]
