"""How a similarity is shared among the values of the most similar patch, for relevance propagation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor], Tensor]


def distance_shares(patches: Tensor, prototypes: Tensor) -> Tensor:
    """Weigh each value by 1 / (z - p)^4: the nearer to the prototype's, the more.

    Gautam et al., "This looks more like that", Pattern Recognition 2022, as in their code (known).

    Args:
        patches, prototypes: (B, D, k, k).
    """
    return 1 / ((patches - prototypes) ** 4 + 1e-12)


def dot_shares(patches: Tensor, prototypes: Tensor) -> Tensor:
    """Weigh each value by its positive term of the dot product (ours).

    >>> dot_shares(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, -1.0]))
    tensor([1., 2., 0.])
    """
    return (patches * prototypes).relu()


def place_patches(features: Tensor, where: Tensor, prototypes: Tensor, rule: Rule) -> Tensor:
    """Compute the shares of one patch per image by ``rule``, scaled to sum to 1; zero elsewhere on the map.

    Args:
        features: (B, D, h, w).
        where: (B,) number of the patch among the h-k+1 times w-k+1 places, in reading order.
        prototypes: (B, D, k, l).

    Returns:
        (B, D, h, w).
    """
    shares = torch.zeros_like(features)
    high, wide = prototypes.shape[2:]
    width = features.shape[3] - wide + 1
    for number, place in enumerate(where.tolist()):
        row, column = divmod(place, width)
        window = (number, slice(None), slice(row, row + high), slice(column, column + wide))
        weights = rule(features[window], prototypes[number])
        shares[window] = weights / weights.sum().clamp_min(1e-30)
    return shares
