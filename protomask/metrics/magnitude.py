"""Does the size of a map's values follow the score, not their order alone? MAS (Walker et al., IJCAI 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.metrics.faithfulness import auc, change_step
from protomask.metrics.given import as_maps, as_values


def mas_insertion(scores: Tensor, saliency: Tensor) -> Tensor:
    """Compute magnitude-aligned scoring on an insertion curve: (B,) in [0, 1], higher is better.

    The curve, from its first to its last value as 0 to 1 and never falling, less its distance from the share of the
    map's sum that is inserted so far; cut to [0, 1], stretched to it, and the area taken.

    Source: Walker, Jha, Ewetz, "Attribution quality metrics with magnitude alignment" (IJCAI 2024), as in their code.

    Args:
        scores: (B, T) of :func:`protomask.metrics.insertion`.
        saliency: (B, H, W), not negative.

    Returns:
        NaN where the curve ends where it began, the map is zero, or no step is left above another.
    """
    scores = _curves(scores, saliency)
    response = _normalised(scores, scores[:, :1], scores[:, -1:]).cummax(1).values
    share = inserted_share(saliency, scores.shape[1])
    return _area((response - (share - response).abs()).clamp(0, 1))


def mas_deletion(scores: Tensor, saliency: Tensor) -> Tensor:
    """Compute magnitude-aligned scoring on a deletion curve: (B,) in [0, 1], lower is better.

    As :func:`mas_insertion`, with a curve that never rises and the penalty added to it.
    """
    scores = _curves(scores, saliency)
    response = _normalised(scores, scores[:, -1:], scores[:, :1]).cummin(1).values
    share = 1 - inserted_share(saliency, scores.shape[1])
    return _area((response + (share - response).abs()).clamp(0, 1))


def inserted_share(saliency: Tensor, points: int) -> Tensor:
    """Compute the share of a map's sum among the pixels changed at each point of a curve: (B, points), 0 to 1."""
    saliency = as_maps(saliency)
    step = change_step(saliency, points - 1).flatten(1)
    mass = torch.zeros(len(saliency), points, device=saliency.device, dtype=torch.float64)
    mass.scatter_add_(1, step.clamp(max=points - 1), saliency.flatten(1).double())
    return mass.cumsum(1) / mass.sum(1, keepdim=True)


def _curves(scores: Tensor, saliency: Tensor) -> Tensor:
    """Check that there is a curve for each map; InputError names what is no such thing."""
    return as_values(scores, (len(as_maps(saliency)), "T"), "scores")


def _normalised(scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
    spread = torch.where(high == low, torch.nan, high - low)
    return ((scores - low) / spread).double().clamp(0, 1)


def _area(corrected: Tensor) -> Tensor:
    low, high = corrected.amin(1, keepdim=True), corrected.amax(1, keepdim=True)
    return auc((corrected - low) / torch.where(high > low, high - low, torch.nan)).float()
