"""Annotations of an image whose frame changes.

Coordinates are continuous: the first pixel spans 0 to 1, so a frame W pixels wide ends at x = W, and mirroring maps
x to W - x. A point is inside the frame when 0 <= x < W and 0 <= y < H.
"""

import torch
from torch import Tensor
from torchvision import tv_tensors

# A box that keeps less than this many pixels of width or height holds nothing that a metric could look for.
LEAST_SIDE = 1.0


def as_boxes(boxes: Tensor, canvas: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Make boxes (K, 4) that follow their image, XYXY pixels; ``canvas`` is (height, width), K may be 0."""
    return tv_tensors.BoundingBoxes(boxes.reshape(-1, 4), format="XYXY", canvas_size=canvas)


def boxes_of_class(boxes: Tensor, box_labels: Tensor | None, number: int) -> Tensor:
    """Give the boxes (K, 4) of one class; all of them where ``box_labels`` is None: they belong to no single one.

    >>> boxes_of_class(torch.tensor([[0, 0, 4, 4], [2, 2, 9, 9]]), torch.tensor([5, 1]), 1).tolist()
    [[2, 2, 9, 9]]
    """
    return boxes if box_labels is None else boxes[box_labels == number]


def as_points(points: Tensor, canvas: tuple[int, int]) -> tv_tensors.KeyPoints:
    """Make points (N, 2), x and y in pixels, that follow their image."""
    return tv_tensors.KeyPoints(points.reshape(-1, 2), canvas_size=canvas)


def move(coordinates: Tensor, origin: tuple[int, int], divisor: int = 1) -> Tensor:
    """Move (..., 2m) alternating x, y into a crop that begins at ``origin`` (x, y) and is shrunk by ``divisor``."""
    shift = torch.tensor(origin * (coordinates.shape[-1] // 2), dtype=coordinates.dtype)
    return (coordinates - shift) / divisor


def settle(sample: dict) -> dict:
    """Make annotations agree with the frame of their image, after anything that moved them.

    Boxes are clamped to the frame and those with less than a pixel left are dropped; a point outside the frame is no
    longer visible (its coordinates stay, so that it can be seen where it went). Returns a new dictionary.
    """
    height, width = sample["image"].shape[-2:]
    settled = dict(sample)
    boxes = sample["boxes"].as_subclass(Tensor)
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= LEAST_SIDE).all(dim=1)
    settled["boxes"] = as_boxes(boxes[kept], (height, width))
    if "box_labels" in sample:
        settled["box_labels"] = sample["box_labels"][kept]
    if "points" in sample:
        x, y = sample["points"].as_subclass(Tensor).unbind(dim=-1)
        settled["visible"] = sample["visible"] & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return settled
