"""ADCC: average drop, coherency and complexity in one number (Poppi et al., CVPR workshops 2021), per pair."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.metrics.faithfulness import minmax
from protomask.metrics.given import as_maps, as_paired, unless_broken


def complexity(saliency: Tensor) -> Tensor:
    """Compute the mean of the stretched map, (B,) in [0, 1]; lower is better.

    How much of the image it takes to explain.

    Known, from the authors' code: the L1 norm over the number of pixels, of a map in [0, 1].
    """
    return minmax(saliency).mean((1, 2))


def coherency(saliency: Tensor, again: Tensor) -> Tensor:
    """Correlate a map with the map ``again`` of what it leaves of the image; higher is better.

    (Pearson's correlation + 1) / 2, (B,) in [0, 1].

    Known, from the authors' code. A method that is asked about the part of the image that it marked itself should mark
    it again.

    Args:
        saliency: (B, H, W).
        again: (B, H, W), the same localizer's map of ``image * minmax(saliency)``.

    Returns:
        (B,) in [0, 1]; 0 where either map is constant (undefined; the authors put 1e-10).
    """
    saliency, again = as_maps(saliency), as_maps(again, saliency[:, None], name="again")
    x, y = (each.flatten(1).double() for each in (saliency, again))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    size = (x * x).sum(1).sqrt() * (y * y).sum(1).sqrt()
    constant = (saliency.flatten(1).amax(1) == saliency.flatten(1).amin(1)) | (
        again.flatten(1).amax(1) == again.flatten(1).amin(1)
    )
    correlation = ((x * y).sum(1) / size.clamp(min=torch.finfo(torch.double).tiny)).clamp(-1, 1)
    found = torch.where(constant | (size == 0), 0.0, (correlation + 1) / 2).to(saliency.dtype)
    return unless_broken(found, saliency, again)


def adcc(drop: Tensor, coherency: Tensor, complexity: Tensor) -> Tensor:
    """Compute the harmonic mean 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)); higher is better.

    Args:
        drop: (B,) average drop as a share: :func:`protomask.metrics.average_drop` / 100. More than 1 counts as 1.
        coherency, complexity: (B,) of the functions of those names. Any one shape of the three will do.

    Returns:
        (B,) in [0, 1]; 0 where one of the three is worst; NaN where one of them is.

    Raises:
        InputError: the three are not of one shape.
    """
    drop, coherency, complexity = as_paired(drop=drop, coherency=coherency, complexity=complexity)
    terms = torch.stack([coherency, 1 - complexity, 1 - drop.clamp(max=1)])
    harmonic = 3 / (1 / terms.clamp(min=torch.finfo(terms.dtype).tiny)).sum(0)
    return torch.where(terms.isnan().any(0), torch.nan, torch.where((terms <= 0).any(0), 0.0, harmonic))
