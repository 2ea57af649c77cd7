"""Remove pixels without leaving a trace of where: ROAD's noisy linear imputation (Rong et al., ICML 2022).

A removed region of one colour has an outline, which a network can see; so does a region of noise. Here a removed pixel
is the weighted mean of its eight neighbours, removed or not, with a little noise, so that it cannot be told from what
is left. No localizer's mask is learned in front of such a background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protomask.metrics.faithfulness import change_step
from protomask.metrics.given import as_images, as_maps, as_mask, unless_broken
from protomask.metrics.membrane import fill_holes
from protomask.metrics.scoring import Score, scoring
from protomask.places import as_index

NOISE = 0.01
"""standard deviation of the noise in units of the normalised image, as in the authors' code"""
SHARES = (0.2, 0.4, 0.6, 0.8)
"""of the pixels that are removed, as in pytorch-grad-cam's ``ROADCombined``"""
ITERATIONS = 30
"""of the solver at most; half a dozen do at any size"""
TOLERANCE = 1e-2
"""of a step of the solver, the noise: what is then left to change is about a tenth of it"""
AT_ONCE = 2**16
"""pixels that a processor works on together, which its cache can hold"""


def impute(images: Tensor, removed: Tensor, *, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Tensor:
    """Replace removed pixels by the weighted mean of their neighbours, solved for all of them together, without noise.

    Each equation is (sum of weights) x_i = sum over the neighbours in the image of weight * x_j: a discrete membrane
    held by what is left. The authors solve it directly; here a solver's steps end when one changed no value by more
    than ``tolerance``, or after ``iterations``. The values are then off by about a tenth of the tolerance, and the same
    beside any other images.

    Args:
        images: (B, 3, H, W), normalised.
        removed: (B, H, W) bool.
        iterations, tolerance: of the solver; the tolerance in units of the normalised image.

    Returns:
        (B, 3, H, W); the images where nothing was removed, zero (the mean colour) where nothing is left.
    """
    removed = as_mask(removed, (len(as_images(images)), *images.shape[2:]), "removed")
    at_once = max(AT_ONCE // images[0, 0].numel(), 1) if len(images) and images.device.type == "cpu" else len(images)
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    parts = zip(exact.split(max(at_once, 1)), removed[:, None].split(max(at_once, 1)))
    found = [fill_holes(part, holes, iterations=iterations, tolerance=tolerance) for part, holes in parts]
    return torch.where(removed[:, None], torch.cat(found).to(images.dtype), images) if found else images


@torch.no_grad()
def road(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = NOISE,
    batch_size: int = 16,
) -> Tensor:
    """Compare what is lost with the first and with the last pixels of a map: ROAD, higher is better.

    Half of the difference between the score when the least salient pixels are removed and the score when the most
    salient are, mean over the shares of pixels, in units of the score: (LeRF - MoRF) / 2.

    Source: Rong et al., "A consistent and efficient evaluation strategy for attribution methods" (ICML 2022), whose
    two orders pytorch-grad-cam combines so (``ROADCombined``). Theirs is the accuracy of a data set, this the score of
    each image. The noise is the same for every map, order and share.

    Args:
        saliency: (B, H, W); only its order counts, equal values in reading order.

    Returns:
        (B,); -0.5 to 0.5 for probabilities. Divide a similarity's by :func:`protomask.metrics.relative_to_whole`.
    """
    index, saliency = as_index(index, as_images(images)), as_maps(saliency, images)
    pixels = saliency.shape[1:].numel()
    rank = change_step(saliency, pixels)
    grain = noise * torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(
        images
    )
    removed = torch.stack(
        [mask for share in shares for mask in (rank > pixels - round(share * pixels), rank <= round(share * pixels))], 1
    ).flatten(0, 1)
    owner = torch.arange(len(images), device=images.device).repeat_interleave(2 * len(shares))
    found = []
    with scoring(score) as ask:
        for part in torch.arange(len(owner), device=images.device).split(batch_size):
            filled = impute(images[owner[part]], removed[part]) + grain * removed[part, None]
            found.append(ask(filled, index[owner[part]]).float())
    least_first, most_first = torch.cat(found).view(len(images), len(shares), 2).mean(1).unbind(1)
    return unless_broken((least_first - most_first) / 2, saliency)
