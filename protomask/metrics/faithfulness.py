"""Does the score follow the map? Insertion, deletion, average drop, increase in confidence, gain.

Every function takes the explained score as a callable ``score(images (N, 3, H, W), index (N,)) -> (N,)`` and gives one
value per (image, index) pair, not yet averaged, so that intervals can be had. At most
``batch_size`` perturbed images exist at a time. Nothing is random.

The published definitions take the score to be a class *probability*. The similarity of a prototype is none: divide it
by its value on the whole image (:func:`relative_to_whole`); a drop is such a share already.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.metrics.given import as_images, as_maps, as_paired, as_values, unless_broken
from protomask.metrics.scoring import Score, scoring
from protomask.places import as_index

STEPS = 28
"""Steps of a curve: RISE changes 224*8 pixels a step at 224 x 224, that is one 28th of the image."""


REGIONS = 28
"""Regions along the shorter side of :func:`region_deletion`: 8 pixels of 224; Samek et al. have 9 of 227."""


class Curve(NamedTuple):
    """Scores while pixels are changed in the order of the map."""

    auc: Tensor
    """(B,) area under each curve, in units of the score"""
    scores: Tensor
    """(B, T) scores at T equally spaced shares of changed pixels, from 0 to 1"""


def rise_kernel() -> Tensor:
    """Give the 11 x 11 blur kernel of RISE's evaluation code, float64, sum 1 (centre .00883, corner .00774).

    RISE obtains it as scipy's ``gaussian_filter(sigma=5)`` of an 11 x 11 dirac. That filter is cut off at 4 sigma and
    reflects at the borders ("half-sample"), so it folds a Gaussian of radius 20 into 11 pixels: almost flat, not a
    truncated Gaussian.
    """
    offsets = torch.arange(-20, 21)
    gaussian = torch.exp(-0.5 * (offsets.double() / 5) ** 2)
    reached = (torch.arange(11)[:, None] + offsets) % 22
    reached = torch.where(reached > 10, 21 - reached, reached)  # the half-sample reflection has period 2 * 11
    line = ((reached == 5) * gaussian / gaussian.sum()).sum(1)
    return line[:, None] * line


def rise_blur(images: Tensor) -> Tensor:
    """Blur as RISE's insertion starts: normalised ``images`` (B, C, H, W) under :func:`rise_kernel`, zero padding 5."""
    channels = as_images(images).shape[1]
    kernel = rise_kernel().to(images)[None, None].expand(channels, 1, 11, 11)
    return F.conv2d(images, kernel, padding=5, groups=channels)


def auc(scores: Tensor) -> Tensor:
    """Compute the area under curves (..., T), the abscissa running from 0 to 1: (sum - first/2 - last/2) / (T - 1), as
    in RISE."""
    return (scores.sum(-1) - scores[..., 0] / 2 - scores[..., -1] / 2) / (scores.shape[-1] - 1)


def change_step(saliency: Tensor, steps: int = STEPS) -> Tensor:
    """Give the step, 1 to T, at which each pixel changes: the most salient first, equal values in reading order.

    The stable order of ties (row by row, left to right) makes constant maps legal and every result repeatable; RISE's
    own order of ties is whatever its unstable sort leaves. The pixels are shared out equally: with N = H*W pixels and T
    = min(steps, N), the pixel of rank r changes at step floor(r*T/N) + 1. At 224 x 224 these are exactly RISE's steps
    of 224*8 pixels; at other sizes the number of points stays and the step is N/28, so that curves of any image size
    compare point by point.

    Args:
        saliency: (B, H, W).

    Returns:
        (B, H, W) long.
    """
    count, pixels = len(saliency), saliency.shape[1:].numel()
    order = saliency.reshape(count, pixels).argsort(dim=1, descending=True, stable=True)
    step = torch.arange(pixels, device=saliency.device) * min(steps, pixels) // pixels + 1
    return torch.empty_like(order).scatter_(1, order, step.expand(count, pixels)).view(saliency.shape)


@torch.no_grad()
def perturbation_curve(
    score: Score,
    start: Tensor,
    finish: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    steps: int = STEPS,
    until: float = 1.0,
    batch_size: int = 16,
) -> Curve:
    """Score while ``start`` turns into ``finish`` (both (B, 3, H, W)), the most salient pixels first.

    The first point is the score of ``start``, the last that of ``finish``, unless ``until``, a share of the pixels,
    ends the curve earlier; the area is that of the mean height either way. :func:`insertion` and :func:`deletion` are
    the two published choices.

    Raises:
        InputError: ``start`` and ``finish``, or the index or the maps, are not of the same images.
    """
    if as_images(start, "the first images").shape != as_images(finish).shape:
        raise InputError(
            f"the image starts with the shape {tuple(start.shape)} and ends with {tuple(finish.shape)}; give the same"
        )
    index, saliency = as_index(index, finish), as_maps(saliency, finish)
    step = change_step(saliency, steps)
    points = round(until * min(steps, saliency.shape[1:].numel())) + 1
    scores = []
    with scoring(score) as ask:
        for part in torch.arange(len(start) * points, device=start.device).split(batch_size):
            image, point = part // points, part % points
            changed = step[image] <= point[:, None, None]
            shown = torch.where(changed[:, None], finish[image], start[image])
            scores.append(_at_least_float(ask(shown, index[image])))
    curves = unless_broken(torch.cat(scores).view(len(start), points), saliency)
    return Curve(auc(curves), curves)


def insertion(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    start: Tensor | None = None,
    steps: int = STEPS,
    batch_size: int = 16,
) -> Curve:
    """Compute insertion (Petsiuk et al., RISE, BMVC 2018), their code's variant ``rise``: higher is better.

    The image appears, the most salient pixels first, out of its blurred self; a good map brings the score back early.

    >>> images = torch.rand(2, 3, 32, 32)
    >>> curve = insertion(lambda x, i: x.mean((1, 2, 3)), images, torch.zeros(2, dtype=torch.long), images.mean(1))
    >>> curve.auc.shape, curve.scores.shape
    (torch.Size([2]), torch.Size([2, 29]))

    Args:
        score: the explained score; softmax probabilities in the published variant.
        images: (B, 3, H, W), normalised.
        index: (B,) long.
        saliency: (B, H, W); only its order counts. Zero and constant maps insert in reading order.
        start: (B, 3, H, W) what to begin with; :func:`rise_blur` of the images by default.
        steps: see :func:`change_step`.
        batch_size: perturbed images per call of ``score``.
    """
    start = rise_blur(images) if start is None else start
    return perturbation_curve(score, start, images, index, saliency, steps=steps, batch_size=batch_size)


def deletion(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    fill: float = 0.0,
    steps: int = STEPS,
    batch_size: int = 16,
) -> Curve:
    """Compute deletion (Petsiuk et al., RISE, BMVC 2018), their code's variant ``rise``: lower is better.

    The most salient pixels are first to become ``fill``, a value after normalisation: 0 is the mean colour. Arguments
    as in :func:`insertion`.
    """
    finish = torch.full_like(as_images(images), fill)
    return perturbation_curve(score, images, finish, index, saliency, steps=steps, batch_size=batch_size)


def region_deletion(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    regions: int = REGIONS,
    steps: int = STEPS,
    batch_size: int = 16,
) -> Curve:
    """Compute deletion of whole regions (Samek et al., TNNLS 2017, region perturbation, MoRF): lower is better.

    :func:`deletion` of nearly square regions in the order of their mean saliency. Single pixels that are taken out
    scatter the image with dots, which takes a class away wherever they are: the same order multiplied by random numbers
    deletes faster. A region leaves no dots. Ours: a grid, the mean colour and RISE's area; Samek et al. draw 9 x 9
    pixels from a uniform distribution.

    Args:
        regions: along the image's shorter side; at 224 pixels 28 make them 8 x 8.
    """
    means = region_means(as_maps(saliency, images), regions)
    return deletion(score, images, index, means, steps=steps, batch_size=batch_size)


def region_means(saliency: Tensor, regions: int = REGIONS) -> Tensor:
    """Average maps (B, H, W) over the regions of :func:`region_deletion`: each pixel gets its region's mean."""
    height, width = saliency.shape[1:]
    side = max(min(height, width) / regions, 1)
    down, across = round(height / side), round(width / side)
    if height % down == 0 and width % across == 0:
        means = F.adaptive_avg_pool2d(saliency[:, None], (down, across))
        return F.interpolate(means, (height, width), mode="nearest-exact")[:, 0]
    # Elsewhere the windows of a pooling overlap: a pixel would count in regions that it is not taken out with.
    rows, columns = (_cells(*each, saliency.device) for each in ((height, down), (width, across)))
    region = (rows[:, None] * across + columns).flatten()
    # In double precision sums do not depend on the order, in which an accelerator adds as it likes.
    sums = torch.zeros(len(saliency), down * across, dtype=torch.float64, device=saliency.device)
    sums.index_add_(1, region, saliency.flatten(1).double())
    return (sums / region.bincount())[:, region].view(saliency.shape).to(saliency.dtype)


def _cells(length: int, count: int, device: torch.device) -> Tensor:
    """Say of each of ``length`` pixels in which of ``count`` equal cells its centre lies."""
    return (2 * torch.arange(length, device=device) + 1) * count // (2 * length)


def relative_to_whole(values: Tensor, whole: Tensor) -> Tensor:
    """Give ``values`` (B, ...) of curves or their areas as shares of ``whole`` (B,), the score of the unchanged image.

    A share of nothing is undefined: where ``whole`` is zero or negative (a cosine) the result is NaN, to be left out
    and counted.

    Args:
        whole: also (B, 1), or one for each of the values, in their shape.

    Raises:
        InputError: another shape.
    """
    values, whole = as_values(values, None, "values"), as_values(whole, None, "whole")
    if whole.shape != values.shape:
        whole = whole.squeeze(1) if whole.ndim == 2 and whole.shape[1] == 1 else whole
        whole = as_values(whole, values.shape[:1], "whole").view(-1, *[1] * (values.ndim - 1))
    return values / torch.where(whole > 0, whole, torch.nan)


def minmax(saliency: Tensor) -> Tensor:
    """Stretch each map (B, H, W) to [0, 1]. A constant map prefers no pixel: it becomes zero.

    One with values that are not finite becomes NaN throughout.
    """
    saliency = as_maps(saliency)
    low, high = saliency.amin((1, 2), keepdim=True), saliency.amax((1, 2), keepdim=True)
    stretched = (saliency - low) / (high - low).clamp(min=torch.finfo(saliency.dtype).tiny)
    return unless_broken(torch.where(high > low, stretched, 0.0), saliency)


@torch.no_grad()
def masked_scores(score: Score, images: Tensor, index: Tensor, saliency: Tensor, *, batch_size: int = 16) -> Tensor:
    """Compute O = s(x * M), (B,): scores of what the maps M, stretched by :func:`minmax`, leave of the images.

    What they do not leave fades to 0, the mean colour of normalised images.
    """
    index, saliency = as_index(index, images), as_maps(saliency, images)
    masks = minmax(saliency).nan_to_num()[:, None]  # a network may refuse what is NaN
    parts = torch.arange(len(images), device=images.device).split(batch_size)
    with scoring(score) as ask:
        scores = [ask(images[part] * masks[part], index[part]) for part in parts]
    return unless_broken(_at_least_float(torch.cat(scores)), saliency)


def kept_by_first(
    score: Score, images: Tensor, index: Tensor, saliency: Tensor, *, share: float = 0.15, batch_size: int = 16
) -> Tensor:
    """Compute the share of the score that the first pixels of a map keep alone, at most 1; higher is better. Ours.

    The first ``share`` of the pixels in the map's order are shown, and behind them the image without detail
    (:func:`rise_blur`). A score above that of the whole image counts as 1: more than the evidence is no evidence.

    Args:
        saliency: (B, H, W); only its order counts.

    Returns:
        (B,) in [0, 1]; NaN where the score of the whole image is zero or negative.
    """
    index, saliency = as_index(index, images), as_maps(saliency, images)
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    first = torch.zeros_like(order, dtype=torch.bool)
    first.scatter_(1, order[:, : max(round(share * order.shape[1]), 1)], True)
    shown = torch.where(first.view(saliency.shape)[:, None], images, rise_blur(images))
    parts = torch.arange(len(images), device=images.device).split(batch_size)
    with torch.no_grad(), scoring(score) as ask:
        kept, whole = (torch.cat([ask(each[part], index[part]) for part in parts]) for each in (shown, images))
    return unless_broken(relative_to_whole(_at_least_float(kept), _at_least_float(whole)).clamp(0, 1), saliency)


def average_drop(whole: Tensor, kept: Tensor) -> Tensor:
    """Compute the average drop of Chattopadhay et al. (Grad-CAM++, WACV 2018) in percent, per pair; lower is better.

    100 * max(0, Y - O) / Y with Y = ``whole`` (B,), the score of the image, and O = ``kept`` (B,) from
    :func:`masked_scores`, or both of any one shape. For classes Y is a softmax probability. For prototypes Y is the
    similarity: the drop is then the share of it that is lost. NaN, to be left out and counted, where Y is zero or
    negative. Above 100 where O is negative.
    """
    whole, kept = as_paired(whole=whole, kept=kept)
    return 100 * relative_to_whole((whole - kept).clamp(min=0), whole)


def increase_in_confidence(whole: Tensor, kept: Tensor) -> Tensor:
    """Compute the increase in confidence (Chattopadhay et al., WACV 2018): 100 where O > Y, else 0; higher is better.

    The mean over pairs is a percentage; the comparison is strict. Arguments as in :func:`average_drop`.
    """
    whole, kept = as_paired(whole=whole, kept=kept)
    return torch.where((whole + kept).isnan(), torch.nan, 100.0 * (kept > whole).to(kept.dtype))


def average_gain(whole: Tensor, kept: Tensor) -> Tensor:
    """Compute the average gain of Zhang et al. (Opti-CAM, 2024) in percent, per pair; higher is better.

    For probabilities only.

    100 * max(0, O - Y) / (1 - Y): the share of the missing confidence that the map adds; 0 where Y = 1, as nothing can
    be added.
    """
    whole, kept = as_paired(whole=whole, kept=kept)
    gain = (kept - whole).clamp(min=0) / (1 - whole).clamp(min=torch.finfo(whole.dtype).tiny)
    return torch.where((whole + kept).isnan(), torch.nan, 100 * torch.where(whole < 1, gain, 0.0))


def relative_gain(whole: Tensor, kept: Tensor) -> Tensor:
    """Compute the average gain for prototypes, in percent: 100 * max(0, O - Y) / Y; higher is better.

    Not Opti-CAM's definition: a similarity divided by its value on the whole image starts at 1, where
    :func:`average_gain` has no room left. This is the counterpart of :func:`average_drop` and has no upper bound. NaN
    where Y is zero or negative.
    """
    whole, kept = as_paired(whole=whole, kept=kept)
    return 100 * relative_to_whole((kept - whole).clamp(min=0), whole)


def _at_least_float(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
