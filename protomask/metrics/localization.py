"""Whether the map lies on the object: pointing game, energy pointing, relevance, against boxes and masks.

A truth is a region (B, H, W) bool, or (1, H, W) for all maps; :func:`box_regions` draws boxes as one. Of integers all
but 0 belong to it; floating point must be 0 and 1. One value per map; NaN, to be left out and counted, where the region
is empty, because there is nothing to point at, and where the map is not finite.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from protomask.given import as_flag
from protomask.metrics.given import (
    as_boxes,
    as_maps,
    as_numbers,
    as_paired,
    as_region,
    as_values,
    first_pixels,
    unless_broken,
)

TOLERANCE = 15.0
"""Pixels by which the pointing game may miss (Zhang et al., excitation backprop, 2016; TorchRay)."""


def box_regions(boxes: Iterable[Tensor], height: int, width: int) -> Tensor:
    """Unite each image's boxes to a region.

    Args:
        boxes: B tensors (K, 4) of x0, y0, x1, y1 in pixels, end-exclusive; K may be 0 and differ.

    Returns:
        (B, height, width) bool: the pixels whose centre is inside a box.
    """
    regions = []
    for each in as_boxes(boxes):
        x0, y0, x1, y1 = each.reshape(-1, 4).float().unbind(1)
        x = torch.arange(width, device=each.device, dtype=torch.float32) + 0.5
        y = torch.arange(height, device=each.device, dtype=torch.float32) + 0.5
        columns = (x >= x0[:, None]) & (x < x1[:, None])
        rows = (y >= y0[:, None]) & (y < y1[:, None])
        regions.append((rows[:, :, None] & columns[:, None, :]).any(0))
    return torch.stack(regions) if regions else torch.zeros(0, height, width, dtype=torch.bool)


def pointing_game(saliency: Tensor, region: Tensor, *, tolerance: float = TOLERANCE) -> Tensor:
    """Play the pointing game, TorchRay's variant; higher is better.

    1 if the region comes closer than ``tolerance`` pixels to the map's maximum, else 0.

    The point is the first maximum in reading order; the distance is Euclidean and strictly smaller than the tolerance,
    as in TorchRay's code. Zero and constant maps point nowhere: 0 (TorchRay would take their top left pixel). TorchRay
    resizes maps to the original image; give the map at the size at which the tolerance is meant. Higher is better.
    TorchRay then averages the accuracies of the classes: :func:`mean_per_class`.

    >>> saliency = torch.zeros(1, 8, 8)
    >>> saliency[0, 2, 3] = 1
    >>> region = box_regions([torch.tensor([[5, 5, 8, 8]])], 8, 8)
    >>> pointing_game(saliency, region, tolerance=4), pointing_game(saliency, region, tolerance=2)
    (tensor([1.]), tensor([0.]))

    Args:
        saliency: (B, H, W).
        region: (B, H, W) bool.
        tolerance: in pixels of the map; 0 asks for a maximum inside the region.

    Returns:
        (B,) 0 or 1; NaN where the region is empty.
    """
    saliency, region = _pair(saliency, region)
    height, width = saliency.shape[1:]
    flat = saliency.flatten(1)
    peak = flat.argmax(1)
    rows = torch.arange(height, device=saliency.device) - (peak // width)[:, None]
    columns = torch.arange(width, device=saliency.device) - (peak % width)[:, None]
    distance = rows[:, :, None] ** 2 + columns[:, None, :] ** 2
    accepted = (distance < tolerance**2) | (distance == 0)
    points = flat.amax(1) > flat.amin(1)
    hit = (accepted & region).flatten(1).any(1) & points
    return _where_defined(hit.to(saliency.dtype), saliency, region)


def energy_pointing(saliency: Tensor, region: Tensor) -> Tensor:
    """Compute the share of the map's sum that lies in the region; higher is better.

    The energy-based pointing game of Wang et al. (Score-CAM, 2020).

    Published for boxes; a mask is the stricter truth. Higher is better. An all-zero map counts 0.

    Args:
        saliency: (B, H, W), not negative.
        region: (B, H, W) bool.

    Returns:
        (B,) in [0, 1]; NaN where the region is empty.
    """
    saliency, region = _pair(saliency, region)
    total = saliency.sum((1, 2))
    inside = (saliency * region).sum((1, 2))
    share = torch.where(total > 0, inside / total.clamp(min=torch.finfo(saliency.dtype).tiny), 0.0)
    return _where_defined(share, saliency, region)


def top_share_on_object(saliency: Tensor, region: Tensor, *, share: float = 0.1) -> Tensor:
    """Compute how many of the most salient ``share`` of all pixels lie on the object; higher is better.

    The relevance of a prototype as in CaBRNet.

    CaBRNet sorts the pixels, which leaves it to the sort which of equal ones are taken. Here equal ones count with the
    share of them that lies on the object, what a random choice among them gives on average: maps with few values are
    judged fairly, and a constant map gets the object's share of the image. Without ties both are the same. An object
    smaller than ``share`` of the image cannot reach 1.

    Args:
        saliency: (B, H, W).
        region: (B, H, W) bool.
        share: of the image's pixels, in (0, 1].

    Returns:
        (B,) in [0, 1]; NaN where the region is empty.
    """
    saliency, region = _pair(saliency, region)
    taken = first_pixels(saliency, share).double()
    hits = (taken * region.flatten(1)).sum(1)
    return _where_defined((hits / taken.sum(1)).to(saliency.dtype), saliency, region)


def outside_inside_ratio(saliency: Tensor, region: Tensor, *, nonzero: bool = False) -> Tensor:
    """Compute mean saliency outside the object over mean saliency inside; lower is better.

    The outside-inside relevance ratio.

    Source: Lapuschkin et al. (CVPR 2016), over all pixels. quanproto's code takes each mean over pixels that are not
    zero (``nonzero``): a map that is nothing but one pixel outside and one inside then counts 1, however much of it is
    empty.

    Returns:
        (B,) 0 or more; infinite where nothing lies inside, also for a zero map; NaN where the region is empty or the
        whole image.
    """
    nonzero = as_flag(nonzero, "nonzero")
    saliency, region = _pair(saliency, region)
    inside, outside = (_mean_over(saliency, part, nonzero) for part in (region, ~region))
    ratio = torch.where(inside > 0, outside / inside.clamp(min=torch.finfo(saliency.dtype).tiny), torch.inf)
    return _where_defined(torch.where((~region).flatten(1).any(1), ratio, torch.nan), saliency, region)


def outside_share(saliency: Tensor, region: Tensor) -> Tensor:
    """Bound the :func:`outside_inside_ratio` r as r / (1 + r), so that it can be averaged; lower is better.

    0: nothing outside; 0.5: as dense outside as inside, as in a map of noise; 1: nothing inside, also for a
    zero map.
    """
    ratio = outside_inside_ratio(saliency, region)
    return torch.where(ratio.isinf(), 1.0, ratio / (1 + ratio))


def _pair(saliency: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    saliency = as_maps(saliency)
    return saliency, as_region(region, saliency)


def _where_defined(values: Tensor, saliency: Tensor, region: Tensor) -> Tensor:
    return unless_broken(torch.where(region.flatten(1).any(1), values, torch.nan), saliency)


def _mean_over(saliency: Tensor, region: Tensor, nonzero: bool) -> Tensor:
    counted = region & (saliency != 0) if nonzero else region
    return (saliency * region).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


def mean_per_class(values: Tensor, classes: Tensor) -> Tensor:
    """Average the classes' means, as TorchRay reports the pointing game.

    NaN values and classes without a value do not count.

    Args:
        values: (B,) float, NaN where undefined.
        classes: (B,) long; True and False are two classes.

    Raises:
        InputError: not one class for each value.
    """
    (values,) = as_paired(values=as_values(values, ("B",), "values"))
    if isinstance(classes, Tensor) and classes.dtype == torch.bool:
        classes = classes.long()
    classes = as_numbers(classes, values, "classes")
    defined = ~values.isnan()
    present = classes[defined].unique()
    means = [values[defined & (classes == each)].mean() for each in present]
    return torch.stack(means).mean() if means else values.new_tensor(torch.nan)
