"""MaxBoxAccV2: do boxes around the thresholded map meet the object's box? (Choe et al., CVPR 2020, ``wsolevaluation``)

Known from the authors' code and followed to the pixel: the map becomes uint8 (``map * 255`` cut off); at each threshold
t = 0, 0.001, ..., 0.999 pixels above ``int(t * maximum)`` are kept, strictly; every contour that OpenCV's ``RETR_TREE``
finds, holes too, gives a box; boxes end one pixel beyond their contour, at most at the last pixel, and the intersection
over union counts both ends; the best contour with the best truth box decides. The accuracy is the share of images that
reach an IoU of 0.3, 0.5 or 0.7, each at its own best threshold; the three are averaged.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from skimage.morphology import max_tree
from torch import Tensor

from protomask.errors import InputError
from protomask.metrics.faithfulness import minmax
from protomask.metrics.given import as_boxes, as_maps, as_values
from protomask.metrics.segmentation import at_best_threshold

THRESHOLDS = 1000
IOUS = (0.3, 0.5, 0.7)


def box_iou_curves(saliency: Tensor, boxes: Iterable[Tensor]) -> Tensor:
    """Compute the best IoU of any contour's box with any truth box, at each of the 1000 thresholds.

    Args:
        saliency: (B, H, W), stretched here to [0, 1].
        boxes: B tensors (K, 4) of x0, y0, x1, y1 in pixels of the map; K may be 0.

    Returns:
        (B, 1000) float32 on the CPU; 0 for a constant map; NaN without a truth box or for a map that is not finite.

    Raises:
        InputError: not as many maps as tensors of boxes.
    """
    boxes = as_boxes(boxes)
    maps = minmax(as_maps(saliency).detach().float()).cpu()
    if len(maps) != len(boxes):
        raise InputError(f"there are {len(maps)} maps and {len(boxes)} tensors of boxes; give one for each")
    known = maps.isfinite().flatten(1).all(1).tolist()
    levels = (maps.nan_to_num().numpy() * 255).astype(np.uint8)
    rows = [
        _curve(each, truth.detach().cpu().reshape(-1, 4).numpy().astype(np.int64))
        if whole
        else np.full(THRESHOLDS, np.nan)
        for each, truth, whole in zip(levels, boxes, known)
    ]
    return (
        torch.from_numpy(np.stack(rows).astype(np.float32)) if rows else torch.empty(0, THRESHOLDS, dtype=torch.float32)
    )


def max_box_accuracy(curves: Tensor) -> Tensor:
    """Compute each image's share of the IoUs 0.3, 0.5, 0.7 that it reaches, at the data set's best thresholds.

    The mean over images is MaxBoxAccV2 (as a share, not in percent).

    Args:
        curves: (n, 1000) of :func:`box_iou_curves` over the whole data set.

    Returns:
        (n,) in {0, 1/3, 2/3, 1}; NaN where undefined.
    """
    curves = as_values(curves, ("n", "T"), "curves")
    # The authors count in whole percent: IoU >= 30 / 100.
    reached = [torch.where(curves.isnan(), torch.nan, (curves.double() >= least - 1e-7).double()) for least in IOUS]
    return torch.stack([at_best_threshold(each) for each in reached]).mean(0)


def _curve(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the best IoU at the thresholds, of one uint8 map."""
    if not len(truth):
        return np.full(THRESHOLDS, np.nan)
    top = int(image.max())
    if top == 0:
        return np.zeros(THRESHOLDS)
    best = np.zeros(256)  # at "pixels > level", for each level
    for boxes, first, last in (_components(image), _holes(image)):
        scores = _iou(boxes, truth)
        for score, low, high in zip(scores, first, last):
            np.maximum(best[low:high], score, out=best[low:high])
    levels = (np.arange(THRESHOLDS) * 0.001 * top).astype(np.int64)
    return best[levels]


def _components(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) of the 8-connected components of all level sets ``image > level``, and the levels (first, last
    exclusive) at which each stands."""
    extent, value, below = _tree(image, connectivity=2)
    return _boxes(extent, image.shape), below, value


def _holes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likewise the holes in them: 4-connected components of ``image <= level`` that do not reach the border. The
    contour of a hole runs through the pixels around it."""
    extent, value, below = _tree(255 - image, connectivity=1)
    height, width = image.shape
    inner = (extent[:, 0] > 0) & (extent[:, 1] > 0) & (extent[:, 2] < width - 1) & (extent[:, 3] < height - 1)
    extent = extent[inner] + np.array([-1, -1, 1, 1])
    # 255 - image > m is image < 255 - m, that is image <= 254 - m.
    return _boxes(extent, image.shape), 255 - value[inner], 255 - below[inner]


def _tree(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Build the component tree: per component its extent (x0, y0, x1, y1; last pixels included), and the values of its
    lowest pixel and of its parent's: it is a component of ``image > m`` for m from the latter up to, not including, the
    former."""
    parent, order = max_tree(image, connectivity=connectivity)
    parent, values = parent.ravel(), image.ravel().astype(np.int64)
    rows, columns = np.divmod(np.arange(len(values)), image.shape[1])
    root = int(order[0])
    node = (values[parent] != values) | (np.arange(len(values)) == root)  # the pixel that stands for its component
    home = np.where(node, np.arange(len(values)), parent)
    extent = np.stack([columns, rows, -columns, -rows], 1)  # minima of all four
    np.minimum.at(extent, home[~node], extent[~node])
    nodes = order[node[order]]
    for each in nodes[:0:-1].tolist():  # children before parents; the root has none
        np.minimum(extent[parent[each]], extent[each], out=extent[parent[each]])
    below = values[parent[nodes]]
    below[0] = 0
    return extent[nodes] * np.array([1, 1, -1, -1]), values[nodes], below


def _boxes(extent: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draw the authors' boxes: they end one pixel further, within the image."""
    height, width = shape
    return np.minimum(extent + np.array([0, 0, 1, 1]), np.array([width, height, width - 1, height - 1]))


def _iou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) best IoU with any of the truth boxes, both ends included."""
    a, b = boxes[:, None], truth[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    both = np.maximum(sides, 0).prod(-1)
    areas = [(each[..., 2:] - each[..., :2] + 1).prod(-1) for each in (a, b)]
    return (both / np.maximum(areas[0] + areas[1] - both, 1)).max(1)
