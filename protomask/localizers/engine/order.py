"""Which pixels come first, and how many of them suffice: what MDM ends with, and the auxiliary vectors of HDM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import in_parts, min_max, together
from protomask.localizers.engine.learning import Pairs
from protomask.localizers.engine.masks import blurred
from protomask.localizers.engine.objective import (
    ALTERNATING,
    begin_objective,
    destroyed,
    either,
    fall,
    score_range,
    shown,
)
from protomask.localizers.engine.stack import Superimposed

SUFFICIENT = (0.02, 0.03, 0.045, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56)
"""shares of the image among which :func:`sufficient` chooses, each about 1.4 times the one before"""
DETAIL = 1 / 45
"""sigma, as a share of the shorter side, of the blur that takes only an image's detail: 5 pixels of 224"""
REST = 1e-3
"""height of the rest, which orders the pixels outside, beside that of the mask"""


@dataclass(frozen=True)
class OrderProblem(Superimposed):
    """M = the mean of the upsampled vectors, of which only the order of its pixels counts; ours.

    The vectors start as the mask ``rough``. Each step cuts M softly at a share a of the pixels, a from ``areas`` in
    turn: T = sigmoid((M - q) / softness), q the value that a share a of the pixels exceeds. The cut is to keep the
    score and its
    complement to destroy it:  minimise  fall(x T + r (1 - T)) + rest(x (1 - T) + r T), both signed. So shades do not
    count, and one order serves all areas. Where the background alternates, keeping has the mean colour and a weak blur
    in turn (:data:`DETAIL`): what only fine detail can tell is to come first. The result
    is the mean over the steps after a share ``settle``.
    See :class:`protomask.localizers.engine.learning.MaskProblem`.
    """

    explained: Explainable
    rough: Tensor
    """(N, H, W) in [0, 1], one mask for every pair of the call"""
    sizes: tuple[int, ...]
    """cells along the image's shorter side, one vector each; those up to the image's own give single pixels a say"""
    steps: int
    areas: tuple[float, ...]
    softness: float
    settle: float = 0.5
    background: str = "alternating"
    seed: int = 0

    def begin(self, pairs: Pairs) -> None:
        begin_objective(self.explained, pairs, self.background, self.seed)
        if self.background == ALTERNATING:
            pairs.fixed["detail lost"] = blurred(pairs.images, min(pairs.image_size) * DETAIL)
        self.start(pairs, self.rough[pairs.position][:, None])

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        values, area = mask.detach().flatten(1), pairs.step % len(self.areas)
        threshold = values[:, 0]
        for number in area.unique().tolist():
            place = int(self.areas[number] * values.shape[1])
            threshold = either(area == number, values.kthvalue(values.shape[1] - place, 1).values, threshold)
        cut = torch.sigmoid((mask - threshold[:, None, None, None]) / self.softness)
        return shown(pairs, cut, "detail lost"), shown(pairs, 1 - cut)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        return fall(pairs, scores[0]) + destroyed(pairs, scores[1], "signed")


def before(values: Tensor) -> Tensor:
    """(B, H, W) -> the share of each map's pixels that come before a pixel, equal values at the mean of their places.

    >>> before(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]]))
    tensor([[[0.0000, 0.6250],
             [0.6250, 0.2500]]])
    """
    flat = -values.flatten(1)
    ordered = flat.sort(1).values
    first, last = torch.searchsorted(ordered, flat), torch.searchsorted(ordered, flat, right=True)
    return ((first + last - 1).to(values) / (2 * flat.shape[1])).view(values.shape)


def sufficient(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    order: Tensor,
    size_weight: float,
    batch_size: int | None = None,
) -> Tensor:
    """As much of the image, in the order of a map, as the score needs; ours.

    For each share a of ``SUFFICIENT`` the mask V_a falls from 1 at the first pixel to 0 where a share 2 a has come
    before. Of these that with the least  fall(x V_a) + size_weight * a  is chosen; beyond it lies the order of the
    rest, at a thousandth of the height.

    Args:
        images, index: (B, 3, H, W) and (B,).
        order: (B, H, W); only its order counts. A constant map has none, and stays so.

    Returns:
        (B, H, W) in [0, 1]. Cost: one forward pass for each share and two more.
    """

    def part_of(rows: slice) -> Tensor:
        place, part, number = before(order[rows]), images[rows], index[rows].long()

        def score(mask: Tensor | float) -> Tensor:
            masked = (part * mask).contiguous(memory_format=torch.channels_last)
            return explained.score(masked, number).nan_to_num(0.0, 0.0, 0.0)

        masks = [(1 - place / (2 * area)).clamp(min=0) for area in SUFFICIENT]
        whole, empty = score(1.0), score(0.0)
        extent = score_range(whole, empty)
        costs = [(whole - score(mask[:, None])) / extent + size_weight * area for mask, area in zip(masks, SUFFICIENT)]
        best = torch.stack(costs).argmin(0)
        mask = torch.stack(masks)[best, torch.arange(len(best), device=best.device)]
        return (1 - REST) * mask + REST * (1 - place)

    with torch.no_grad(), frozen(explained):
        return min_max(torch.cat(in_parts(len(images), together(batch_size, images), part_of)))
