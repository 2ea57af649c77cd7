"""How few pixels does a map need? Sparseness (Gini) and complexity (entropy), computed from the map alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from protomask.metrics.given import as_maps


def sparseness(saliency: Tensor) -> Tensor:
    """Compute the Gini index of a map's pixels: 0 where all are equal, towards 1 where one has everything.

    1 - 2 * sum over the pixels in rising order of (v_k / sum of v) * (N - k + 1/2) / N, k = 1 to N.

    Source: Chalasani et al., "Concise explanations of neural networks using adversarial training" (ICML 2020).

    >>> sparseness(torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]))
    tensor([0.7500, 0.0000])

    Args:
        saliency: (B, H, W), not negative.

    Returns:
        (B,); NaN where a map is zero.
    """
    saliency = as_maps(saliency)
    values = saliency.flatten(1).double().sort(1).values
    count = values.shape[1]
    weights = (count - torch.arange(1, count + 1, dtype=torch.float32, device=values.device) + 0.5) / count
    total = values.sum(1)
    gini = 1 - 2 * (values * weights).sum(1) / torch.where(total > 0, total, torch.nan)
    return gini.clamp_min(0).to(saliency.dtype)


def map_entropy(saliency: Tensor) -> Tensor:
    """Compute the entropy of a map as a distribution over pixels, as a share of the greatest possible: 0 to 1.

    -sum p ln p / ln N with p = v / sum of v: 0 where one pixel has everything, 1 where all are equal.

    Source: Bhatt, Weller, Moura, "Evaluating and aggregating feature-based model explanations" (IJCAI 2020),
    complexity; divided by ln N (ours), so that images of all sizes compare.

    Args:
        saliency: (B, H, W), not negative.

    Returns:
        (B,); NaN where a map is zero.
    """
    saliency = as_maps(saliency)
    values = saliency.flatten(1).double()
    total = values.sum(1, keepdim=True)
    shares = values / torch.where(total > 0, total, torch.nan)
    return (-torch.special.xlogy(shares, shares).sum(1) / math.log(max(values.shape[1], 2))).to(saliency.dtype)
