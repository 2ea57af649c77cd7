"""Which patches of a feature map lie on the object, by the boxes or the mask of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.capabilities import ChoosesAmongPatches
from protomask.data.geometry import boxes_of_class
from protomask.errors import InputError
from protomask.labels import is_multi_label


def object_shares(batch: dict[str, Any], grid: Sequence[int]) -> Tensor:
    """Compute how much of each cell the object covers.

    Args:
        batch: collated; its ``mask`` counts, or, without one, its ``boxes``, in pixels of the square images. Where
            these belong to single classes (``box_labels``), those of the image's own: another's is none of its object.
        grid: (h, w) of the feature map.

    Returns:
        (B, h, w) in [0, 1], on the CPU.

    Raises:
        InputError: boxes belong to single findings, and an image may have several of these.
    """
    if "mask" in batch:
        return F.adaptive_avg_pool2d(batch["mask"].float(), (grid[0], grid[1]))[:, 0]
    side = batch["images"].shape[-1]
    return torch.stack([_covered(boxes, grid, side) for boxes in _own_boxes(batch)])


def object_patches(batch: dict[str, Any], grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Tell which patches are on the object: at least half of their area (ours).

    Where no patch is, those that have most of it; all patches of an image without an object.

    Args:
        batch, grid: see :func:`object_shares`.
        size: cells of a patch, (k, k).

    Returns:
        (B, h - k + 1, w - k + 1) bool.
    """
    shares = _patch_shares(batch, grid, size)
    most = shares.amax((1, 2), keepdim=True)
    return shares >= most.clamp(max=0.5) - 1e-6


def filled_by_objects(network: Any, batch: dict[str, Any]) -> Tensor:
    """Tell in which images the object fills a whole patch, (B,) bool: there a prototype can see the object alone."""
    return _patch_shares(batch, network.grid, _patch_size(network)).flatten(1).amax(1) > 1 - 1e-6


def allowed_patches(network: Any, batch: dict[str, Any]) -> Tensor:
    """Give :func:`object_patches` for a network whose prototypes come from patches, or from single cells.

    Raises:
        InputError: this kind of network cannot choose among patches.
    """
    if not isinstance(network, ChoosesAmongPatches):
        raise InputError(
            f"on_object is for networks as protopnet and xprotonet, not {type(network).__name__}; leave it out"
        )
    return object_patches(batch, network.grid, _patch_size(network))


def _patch_size(network: Any) -> Sequence[int]:
    """Give the cells of a patch that prototypes come from; a single one where they have no size of their own."""
    return network.prototypes.shape[2:] or (1, 1)


def _patch_shares(batch: dict[str, Any], grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Compute how much of each patch the object covers, (B, h - k + 1, w - k + 1) in [0, 1]."""
    return F.avg_pool2d(object_shares(batch, grid)[:, None], (size[0], size[1]), stride=1)[:, 0]


def _own_boxes(batch: dict[str, Any]) -> list[Tensor]:
    """Give the boxes (K, 4) of each image's class."""
    if "box_labels" not in batch:
        return batch["boxes"]
    if is_multi_label(batch["labels"]):
        raise InputError(
            "on_object is for one class per image, and here boxes belong to single findings (box_labels); leave it out"
        )
    return [
        boxes_of_class(boxes, numbers, label)
        for boxes, numbers, label in zip(batch["boxes"], batch["box_labels"], batch["labels"].tolist())
    ]


def _covered(boxes: Tensor, grid: Sequence[int], side: int) -> Tensor:
    """Compute the share of each cell that lies in the largest part of any of ``boxes`` (K, 4); (h, w)."""
    rows, columns = grid
    covered = torch.zeros(rows, columns, dtype=torch.float32)
    for x0, y0, x1, y1 in boxes.float().tolist():
        across = _overlap(x0, x1, columns, side)
        covered = torch.maximum(covered, _overlap(y0, y1, rows, side)[:, None] * across)
    return covered


def _overlap(low: float, high: float, count: int, side: int) -> Tensor:
    """Compute the share of each of ``count`` equal parts of [0, side] that is between ``low`` and ``high``."""
    edges = torch.linspace(0, side, count + 1, dtype=torch.float32)
    return (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp(min=0) * count / side
