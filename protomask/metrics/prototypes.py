"""Does the prototype's similarity follow the map? Two tests made for prototypes: fidelity and the relevance ordering
test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from protomask.metrics.faithfulness import Curve, change_step, perturbation_curve, relative_to_whole
from protomask.metrics.given import as_images, as_maps, unless_broken
from protomask.metrics.scoring import Score, at_rest, name_of, require_similarity_maps
from protomask.places import as_index

SHARES = tuple(step / 1000 for step in range(1, 21))
"""0.1 %, 0.2 %, ..., 2 % of the pixels."""
SHOWN = 0.5
"""The relevance ordering test ends when half of the image is back."""


@torch.no_grad()
def fidelity(
    maps: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    fill: float = 0.0,
    batch_size: int = 16,
) -> Curve:
    """Compute the similarity left at the original maximum when the most salient pixels go; lower is better.

    Source: Xu-Darme et al., "Sanity checks for patch visualisation in prototype-based image classification" (CVPR
    workshops 2023). Known: the similarity is read where it was greatest in the whole image, even if it is greater
    elsewhere afterwards; the most salient 0.1 % to 2 % of the pixels take the mean colour. The small shares ask for the
    pixels that the patch rests on, not for the object. Equal values go in reading order; at least one pixel goes.

    Args:
        maps: ``similarity_maps(images (N, 3, H, W), index (N,)) -> (N, h, w)`` of the network.
        images: (B, 3, H, W), normalised.
        index: (B,) long.
        saliency: (B, H, W).
        shares: of the pixels, rising.
        fill: value after normalisation; 0 is the mean colour.

    Returns:
        ``scores`` (B, T): value at the place of the original maximum over the original maximum; ``auc``: their mean.
        NaN where the original maximum is not positive.
    """
    index, saliency = as_index(index, as_images(images)), as_maps(saliency, images)
    if not len(images):  # a network may refuse them
        return Curve(saliency.new_empty(0), saliency.new_empty(0, len(shares)))

    def ask(images: Tensor, index: Tensor) -> Tensor:
        return require_similarity_maps(maps(images, index), index, name_of(maps)).flatten(1).float()

    pixels = saliency.shape[1] * saliency.shape[2]
    rank = change_step(saliency, pixels)
    removed = torch.tensor([max(1, round(share * pixels)) for share in shares], device=images.device)
    left = []
    with at_rest(maps):
        whole, place = ask(images, index).max(1)
        for part in torch.arange(len(images) * len(shares), device=images.device).split(batch_size):
            image, step = part // len(shares), part % len(shares)
            gone = rank[image] <= removed[step][:, None, None]
            changed = torch.where(gone[:, None], fill, images[image])
            left.append(ask(changed, index[image]).gather(1, place[image, None])[:, 0])
    scores = unless_broken(relative_to_whole(torch.cat(left).view(len(images), len(shares)), whole), saliency)
    return Curve(scores.mean(1), scores)


def relevance_ordering(
    score: Score, images: Tensor, index: Tensor, saliency: Tensor, *, steps: int = 28, batch_size: int = 16
) -> Curve:
    """Insert pixels by relevance, and measure the similarity (Carmichael et al., WACV 2024); higher is better.

    PixPNet's relevance ordering test.

    Known, from the authors' code: pixels come back into an empty image (zero, the mean colour), the most salient first,
    until half of them are there; the similarity is averaged. They add one pixel at a time; here 1/28 of the image, as
    in :func:`protomask.metrics.insertion`, which begins with a blurred image instead and ends with the whole one.

    Returns:
        ``scores`` (B, steps / 2 + 1) and ``auc``, their mean by the trapezoid rule, in units of the score.
    """
    return perturbation_curve(
        score,
        torch.zeros_like(as_images(images)),
        images,
        index,
        saliency,
        steps=steps,
        until=SHOWN,
        batch_size=batch_size,
    )
