"""Remove pixels without leaving a trace of where: ROAD's noisy linear imputation (Rong et al., ICML 2022).

A removed region of one colour has an outline, which a network can see; so does a region of noise. Here a removed pixel
is the weighted mean of its eight neighbours, removed or not, with a little noise, so that it cannot be told from what
is left. No localizer's mask is learned in front of such a background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.metrics.faithfulness import Score, change_step, relative_to_whole

BESIDE, ACROSS = 1 / 6, 1 / 12
"""weights of the four direct and the four diagonal neighbours, as in the authors' code"""
NOISE = 0.01
"""standard deviation of the noise in units of the normalised image, as in the authors' code"""
SHARES = (0.2, 0.4, 0.6, 0.8)
"""of the pixels that are removed, as in pytorch-grad-cam's ``ROADCombined``"""
ITERATIONS = 100
"""of conjugate gradients, from a start that is smooth already; fewer where all images have converged"""
TOLERANCE = 2e-3
"""of the equations, a fifth of the noise"""
CHECKED = 4
"""steps of the solver from one look at what is left to the next"""


def impute(images: Tensor, removed: Tensor, *, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Tensor:
    """Replace removed pixels by the weighted mean of their neighbours, solved for all of them together, without noise.

    Each equation is (sum of weights) x_i = sum over the neighbours in the image of weight * x_j: a discrete membrane
    held by what is left. The authors solve it directly; here conjugate gradients end when no equation is off by more
    than ``tolerance``, or after ``iterations``.

    Args:
        images: (B, 3, H, W), normalised.
        removed: (B, H, W) bool.
        iterations, tolerance: of the solver; the tolerance in units of the normalised image.

    Returns:
        (B, 3, H, W); the images where nothing was removed, zero (the mean colour) where nothing is left.
    """
    # One at a time a processor finds it in its cache, and none waits for the slowest.
    at_once = 1 if images.device.type == "cpu" else max(len(images), 1)
    parts = zip(images.split(at_once), removed[:, None].split(at_once))
    found = [torch.where(holes, _solve(part, holes, iterations, tolerance), part) for part, holes in parts]
    return torch.cat(found) if found else images


def _solve(images: Tensor, removed: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve :func:`impute`'s equations by conjugate gradients, in place: memory is what they cost on a processor."""
    inside = removed.to(images.dtype)
    # The neighbours with their weights are [1 2 1] x [1 2 1] / 12, less a third of the pixel itself.
    own = inside * (_neighbours(torch.ones_like(inside[:1])) + 1 / 3)
    beside = inside / -12
    found = _membrane_start(images * (1 - inside), 1 - inside).contiguous()
    direction = F.pad(found, (1, 1, 1, 1))
    middle = direction[..., 1:-1, 1:-1]
    residual = -_moved(direction, own, beside)
    middle.copy_(residual)
    size = _squares(residual, residual)
    for count in range(iterations):
        if count % CHECKED == 0 and float(residual.abs().amax()) <= tolerance:
            break
        moved = _moved(direction, own, beside)
        step = size / _squares(middle, moved).clamp_min(1e-30)
        found.addcmul_(step, middle)
        residual.addcmul_(-step, moved)
        again = _squares(residual, residual)
        middle.mul_(again / size.clamp_min(1e-30)).add_(residual)
        size = again
    return found


def _moved(padded: Tensor, own: Tensor, beside: Tensor) -> Tensor:
    """Compute the equations' left side less their right, of values with a border of zeros."""
    rows = padded[..., :-2, :] + padded[..., 2:, :]
    rows.add_(padded[..., 1:-1, :], alpha=2)
    total = rows[..., :-2] + rows[..., 2:]
    total.add_(rows[..., 1:-1], alpha=2)
    return total.mul_(beside).addcmul_(own, padded[..., 1:-1, 1:-1])


def _squares(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2, 3), keepdim=True)


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
    salient are, mean over the shares of pixels, in units of the whole image's score: (LeRF - MoRF) / 2.

    Source: Rong et al., "A consistent and efficient evaluation strategy for attribution methods" (ICML 2022), whose
    two orders pytorch-grad-cam combines so (``ROADCombined``). Theirs is the accuracy of a data set, this the score of
    each image. The noise is the same for every map, order and share.

    Args:
        saliency: (B, H, W); only its order counts, equal values in reading order.

    Returns:
        (B,), about -0.5 to 0.5; NaN where the score of the whole image is zero or negative.
    """
    pixels = saliency[0].numel()
    rank = change_step(saliency, pixels)
    grain = noise * torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images)
    removed = torch.stack(
        [mask for share in shares for mask in (rank > pixels - round(share * pixels), rank <= round(share * pixels))], 1
    ).flatten(0, 1)
    owner = torch.arange(len(images), device=images.device).repeat_interleave(2 * len(shares))
    found = []
    for part in torch.arange(len(owner), device=images.device).split(batch_size):
        filled = impute(images[owner[part]], removed[part]) + grain * removed[part, None]
        found.append(score(filled, index[owner[part]]).float())
    least_first, most_first = torch.cat(found).view(len(images), len(shares), 2).mean(1).unbind(1)
    return relative_to_whole((least_first - most_first) / 2, score(images, index).float())


def _neighbours(values: Tensor) -> Tensor:
    """Sum the eight neighbours of each pixel with their weights; what lies outside counts as nothing."""
    padded = F.pad(values, (1, 1, 1, 1))
    columns = padded[..., :-2] + padded[..., 2:]
    beside = columns[..., 1:-1, :] + padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return BESIDE * beside + ACROSS * (columns[..., :-2, :] + columns[..., 2:, :])


def _membrane_start(kept: Tensor, known: Tensor) -> Tensor:
    """Fill holes from coarser and coarser means of what is known (B, 1, H, W): a smooth start for the solver."""
    if min(kept.shape[-2:]) <= 1 or bool((known > 0).all()):
        total = known.sum((2, 3), keepdim=True)
        mean = torch.where(total > 0, (kept * known).sum((2, 3), keepdim=True) / total.clamp_min(1), 0)
        return torch.where(known > 0, kept, mean)
    sums, count = (F.avg_pool2d(each, 2, ceil_mode=True, count_include_pad=False) for each in (kept * known, known))
    coarse = _membrane_start(sums / count.clamp_min(1e-6), (count > 0).to(known.dtype))
    fine = F.interpolate(coarse, kept.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known > 0, kept, fine)
