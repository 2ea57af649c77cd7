"""How well scores rank the images that have a class or finding above the others: one exact value per class."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.metrics.given import as_mask, as_values


def auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """Compute the area under the ROC curve of each class.

    The share of (positive, negative) pairs in which the positive's score is greater, a tie counting half.

    >>> auroc(torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[False], [True], [False], [True]])).tolist()
    [0.875]

    Args:
        scores: (N, C), larger for "has it"; any monotone scale.
        positive: (N, C) bool, or 0 and 1.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without positive or without negative images, or with a score that is.
    """
    scores = as_values(scores, ("N", "C"), "scores")
    positive = as_mask(positive, scores.shape, "positive")
    return torch.stack([_auroc(one, has) for one, has in zip(scores.unbind(1), positive.unbind(1))])


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Compute the average precision of each class, as scikit-learn defines it.

    The sum over the distinct scores, falling, of (recall gained) * (precision down to that score).

    >>> scores = torch.tensor([[0.1], [0.4], [0.4], [0.8]])
    >>> average_precision(scores, torch.tensor([[False], [True], [False], [True]])).tolist()
    [0.8333333333333333]

    Args:
        scores, positive: as for :func:`auroc`.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without positive images, or with a score that is.
    """
    scores = as_values(scores, ("N", "C"), "scores")
    positive = as_mask(positive, scores.shape, "positive")
    return torch.stack([_average_precision(one, has) for one, has in zip(scores.unbind(1), positive.unbind(1))])


def _auroc(scores: Tensor, positive: Tensor) -> Tensor:
    found, missed = positive.sum().double(), (~positive).sum().double()
    _, place, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1).double() / 2  # the mean rank, from 1, of those that share a score
    pairs_won = ranks[place][positive].sum() - found * (found + 1) / 2
    return torch.where(scores.isnan().any(), torch.nan, pairs_won / (found * missed))


def _average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    _, place, counts = scores.unique(return_inverse=True, return_counts=True)
    gained = (
        torch.zeros(len(counts), dtype=torch.float64, device=scores.device)
        .index_add_(0, place, positive.double())
        .flip(0)
    )
    precision = gained.cumsum(0) / counts.flip(0).cumsum(0)
    return torch.where(scores.isnan().any(), torch.nan, (gained * precision).sum() / gained.sum())
