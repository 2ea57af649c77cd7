"""Does the thresholded map cover the object? Intersection over union and Dice, at a fixed and at the best threshold.

A map is stretched to [0, 1] first (:func:`protomask.metrics.faithfulness.minmax`) and a pixel is predicted where it
exceeds the threshold. A *part* of an object, however well localised, cannot fill the object: low values are then no
fault of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.metrics.faithfulness import minmax
from protomask.metrics.given import as_region, as_values, unless_broken

FIXED = 0.5
"""The fixed threshold, as a share of the stretched map's maximum."""
THRESHOLDS = 100
"""Thresholds tried for the best one: 0, 0.01, ..., 0.99."""


def iou(saliency: Tensor, region: Tensor, *, threshold: float = FIXED) -> Tensor:
    """Compute the intersection over union (Jaccard) of ``map > threshold`` and the region; higher is better.

    >>> iou(torch.tensor([[[0.0, 1.0], [0.2, 0.8]]]), torch.tensor([[[True, True], [False, False]]]))
    tensor([0.3333])

    Args:
        saliency: (B, H, W), stretched here.
        region: (B, H, W) bool.
        threshold: in [0, 1).

    Returns:
        (B,) in [0, 1]; 0 for a constant map, NaN where the region is empty or the map is not finite.
    """
    return _iou(*_counts(saliency, region, threshold))[:, 0]


def dice(saliency: Tensor, region: Tensor, *, threshold: float = FIXED) -> Tensor:
    """Compute the Dice coefficient (F1) of ``map > threshold`` and the region; higher is better.

    2 IoU / (1 + IoU); arguments as in :func:`iou`.
    """
    return _dice(*_counts(saliency, region, threshold))[:, 0]


def iou_curves(saliency: Tensor, region: Tensor, *, thresholds: int = THRESHOLDS) -> Tensor:
    """Compute :func:`iou` at the thresholds 0, 1/T, ..., (T - 1)/T: (B, T), NaN where the region is empty."""
    return _iou(*_cumulative_counts(saliency, region, thresholds))


def dice_curves(saliency: Tensor, region: Tensor, *, thresholds: int = THRESHOLDS) -> Tensor:
    """Compute :func:`dice` at the thresholds 0, 1/T, ..., (T - 1)/T: (B, T)."""
    return _dice(*_cumulative_counts(saliency, region, thresholds))


def at_best_threshold(curves: Tensor) -> Tensor:
    """Take every pair's value at the one threshold whose mean over all pairs is greatest (the least of equals).

    One threshold for the whole data set is the published meaning of "best" (Choe et al., CVPR 2020). A threshold of its
    own for every map, ``curves.amax(1)``, looks at the truth of each image and flatters maps that need it.

    Args:
        curves: (n, T); rows of NaN do not count.

    Returns:
        (n,)
    """
    means = as_values(curves, ("n", "T"), "curves").nanmean(0)
    return curves[:, int(means.nan_to_num(-torch.inf).argmax())] if len(curves) else curves.new_empty(0)


def _counts(saliency: Tensor, region: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Count the pixels of the intersection, the prediction (both NaN for maps that are not finite) and the region.

    (B, 1) each.
    """
    values, region = minmax(saliency).flatten(1), as_region(region, saliency).flatten(1)
    both, every = ((chosen & (values > threshold)).sum(1, keepdim=True) for chosen in (region, torch.ones_like(region)))
    return unless_broken(both, values), unless_broken(every, values), region.sum(1, keepdim=True)


def _cumulative_counts(saliency: Tensor, region: Tensor, thresholds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute :func:`_counts` at all thresholds at once, by counting how many of them each pixel exceeds."""
    values, region = minmax(saliency).flatten(1), as_region(region, saliency).flatten(1)
    levels = torch.arange(thresholds, device=values.device, dtype=values.dtype) / thresholds
    exceeded = torch.searchsorted(levels, values.contiguous())
    counts = torch.zeros(2, len(values), thresholds + 1, device=values.device, dtype=values.dtype)
    counts[0].scatter_add_(1, exceeded, region.to(counts.dtype))
    counts[1].scatter_add_(1, exceeded, torch.ones_like(values))
    # A pixel that exceeds n thresholds is predicted at the first n.
    inside, every = counts.flip(2).cumsum(2).flip(2)[..., 1:]
    return unless_broken(inside, values), unless_broken(every, values), region.sum(1, keepdim=True)


def _iou(both: Tensor, predicted: Tensor, region: Tensor) -> Tensor:
    return torch.where(region > 0, both / (predicted + region - both).clamp(min=1), torch.nan)


def _dice(both: Tensor, predicted: Tensor, region: Tensor) -> Tensor:
    return torch.where(region > 0, 2 * both / (predicted + region).clamp(min=1), torch.nan)
