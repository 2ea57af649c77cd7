"""Cells of the feature map within the outline of a learned mask, or within what a person outlined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from protomask.explanations.records import PrototypePicture
from protomask.report.evidence import find_evidence
from protomask.run.review import Region
from protomask.training.patches import Cell

_SIDE = 256


def cells_of_masks(network: Any, pictures: Sequence[PrototypePicture], prototypes: Iterable[int]) -> list[Cell]:
    """List the cells in the evidence that the learned masks of ``prototypes`` outline in their source images."""
    found = []
    for number in prototypes:
        picture = pictures[number]
        region = find_evidence(next(iter(picture.maps.values()))).region
        position = int(network.source_positions[picture.record.prototype])
        found += [(position, row, column) for row, column in _cells(network, region)]
    return found


def cells_of_regions(network: Any, regions: Iterable[Region]) -> list[Cell]:
    """List the cells at least half of which is within what people outlined in the prototypes' source images.

    Of an outline that is smaller than that the cell that holds most of it.
    """
    return [cell for region in regions for cell in _cells_of_region(network, region)]


def _cells_of_region(network: Any, region: Region) -> list[Cell]:
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(canvas).polygon([(x * _SIDE, y * _SIDE) for x, y in region.corners], fill=255)
    position = int(network.source_positions[region.prototype])
    inside = np.asarray(canvas) > 0
    return [(position, row, column) for row, column in _cells(network, inside) or _cells(network, inside, most=True)]


def _cells(network: Any, inside: np.ndarray, most: bool = False) -> list[tuple[int, int]]:
    """Cells at least half of which is inside, (H, W) bool, or the one most of which is; patches must fit on the map."""
    rows, columns = network.grid
    high, wide = network.prototypes.shape[2:]
    weights = torch.from_numpy(inside.astype(np.float32))[None, None]
    shares = torch.nn.functional.adaptive_avg_pool2d(weights, (rows, columns))[0, 0]
    shares = shares[: rows - high + 1, : columns - wide + 1]
    enough = (shares == shares.max()) & (shares > 0) if most else shares >= 0.5
    found = [(row, column) for row, column in enough.nonzero().tolist()]
    return found[:1] if most else found
