"""The order of the pixels, and how many of them the score needs: the last stage of MDM, the auxiliary one of HDM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import fitting_batch_size, min_max, run_in_chunks
from protomask.localizers.engine.learning import MaskState
from protomask.localizers.engine.masks import gaussian_blur
from protomask.localizers.engine.objective import (
    ALTERNATING,
    begin_objective,
    destroy_loss,
    masked_images,
    score_drop,
    score_range,
    select_rows,
)
from protomask.localizers.engine.stack import StackedVectors

SUFFICIENT = (0.02, 0.03, 0.045, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56)
"""shares of the image among which :func:`sufficient_mask` chooses, each about 1.4 times the one before"""
DETAIL = 1 / 45
"""sigma, as a share of the shorter side, of the blur that takes only an image's detail: 5 pixels of 224"""
REST = 1e-3
"""height of the rest, which orders the pixels outside, beside that of the mask"""


@dataclass(frozen=True)
class OrderProblem(StackedVectors):
    """Learn which pixels come first at every area; ours.

    M is the mean of the upsampled vectors, and only the order of its pixels counts.

    The vectors start as the mask ``rough``. Each step cuts M softly at a share a of the pixels, a from ``areas`` in
    turn: T = sigmoid((M - q) / softness), q the value that a share a of the pixels exceeds. The cut is to keep the
    score and its
    complement to destroy it:  minimise  drop(x T + r (1 - T)) + rest(x (1 - T) + r T), both signed. So shades do not
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

    def begin(self, state: MaskState) -> None:
        begin_objective(self.explained, state, self.background, self.seed)
        if self.background == ALTERNATING:
            state.buffers["detail lost"] = gaussian_blur(state.images, min(state.image_size) * DETAIL)
        self.start(state, self.rough[state.position][:, None])

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        values, area = mask.detach().flatten(1), state.step % len(self.areas)
        threshold = values[:, 0]
        for number in area.unique().tolist():
            place = int(self.areas[number] * values.shape[1])
            threshold = select_rows(area == number, values.kthvalue(values.shape[1] - place, 1).values, threshold)
        cut = torch.sigmoid((mask - threshold[:, None, None, None]) / self.softness)
        return masked_images(state, cut, "detail lost"), masked_images(state, 1 - cut)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        return score_drop(state, scores[0]) + destroy_loss(state, scores[1], "signed")


def rank_share(values: Tensor) -> Tensor:
    """Rank the pixels of each map (B, H, W): the share of pixels with greater values.

    Equal values share the mean of their places.

    >>> rank_share(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]]))
    tensor([[[0.0000, 0.6250],
             [0.6250, 0.2500]]])
    """
    ordered, pixel = (-values.flatten(1)).sort(1)
    count = ordered.shape[1]
    place = torch.arange(count, device=values.device).expand_as(ordered)
    differs = ordered[:, 1:] != ordered[:, :-1]
    # Of each run of equal values the first place, and the last one.
    first = place.masked_fill(F.pad(~differs, (1, 0)), 0).cummax(1).values
    last = place.masked_fill(F.pad(~differs, (0, 1)), count).flip(1).cummin(1).values.flip(1)
    return (torch.empty_like(place).scatter(1, pixel, first + last).to(values) / (2 * count)).view(values.shape)


def with_values_of(order: Tensor, mask: Tensor, contrast: float = 1.0) -> Tensor:
    """Show the pixels in the order of one map with the values of another, the greatest value at the first pixel; ours.

    The shades of a mask that was learned to keep the score say how much to show, and nothing in it jumps.

    Args:
        order, mask: (B, H, W); of the former only the order counts. A constant map has none, and stays so.
        contrast: power of the values; more than 1 darkens what the mask shows faintly.

    Returns:
        (B, H, W) in [0, 1]; beyond the mask lies the order of the rest, at a thousandth of the height.

    >>> with_values_of(torch.tensor([[[3.0, 1.0, 2.0]]]), torch.tensor([[[0.0, 1.0, 0.5]]]))[0, 0, :2]
    tensor([1., 0.])
    """
    place = rank_share(order)
    values = min_max(mask).pow(contrast).flatten(1).sort(1, descending=True).values
    # Equal pixels share the value at the mean of their places.
    at = (place.flatten(1) * values.shape[1]).long()
    return min_max((1 - REST) * values.gather(1, at).view_as(place) + REST * (1 - place))


def sufficient_mask(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    order: Tensor,
    size_weight: float,
    batch_size: int | None = None,
) -> Tensor:
    """Show as much of the image, in the order of a map, as the score needs; ours.

    For each share a of ``SUFFICIENT`` the mask V_a falls from 1 at the first pixel to 0 where a share 2 a has come
    before. Of these that with the least  drop(x V_a) + size_weight * a  is chosen; beyond it lies the order of the
    rest, at a thousandth of the height.

    Args:
        images, index: (B, 3, H, W) and (B,).
        order: (B, H, W); only its order counts. A constant map has none, and stays so.

    Returns:
        (B, H, W) in [0, 1]. Cost: one forward pass for each share and two more.
    """

    def part_of(rows: slice) -> Tensor:
        place, part, number = rank_share(order[rows]), images[rows], index[rows].long()

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
        return min_max(torch.cat(run_in_chunks(len(images), fitting_batch_size(batch_size, images), part_of)))
