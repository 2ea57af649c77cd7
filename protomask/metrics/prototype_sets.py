"""What the prototypes of a network are worth together: how many decide, how far they differ, how well one separates."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.metrics.classification import auroc
from protomask.metrics.given import as_maps, as_mask, as_values, salient_pixels

FIRST = 0.1
"""share of the pixels, the most salient, that count as a prototype's place in an image"""


def explanation_size(similarities: Tensor, weights: Tensor, logits: Tensor, share: float = 0.01) -> Tensor:
    """Count the prototypes with a part in the decision for the class that is predicted: (B,), lower is better.

    A prototype has a part where its points, similarity * weight, are at least ``share`` of all points for that class,
    points against it counted by their size.

    Source: after PIP-Net's local explanation size (Nauta et al., CVPR 2023), which counts prototypes above a similarity
    of 0.1 and with a weight; the share is ours, since other networks' similarities have other scales.

    Args:
        similarities: (B, P). weights: (C, P) of the last layer. logits: (B, C).

    Returns:
        NaN where one of these numbers is.
    """
    similarities = as_values(similarities, ("B", "P"), "similarities")
    logits = as_values(logits, (len(similarities), "C"), "logits")
    weights = as_values(weights, (logits.shape[1], similarities.shape[1]), "weights")
    points = (similarities * weights[logits.argmax(1)]).abs()
    size = ((points >= share * points.sum(1, keepdim=True)) & (points > 0)).sum(1).float()
    return torch.where(points.isnan().any(1) | logits.isnan().any(1), torch.nan, size)


def discrimination(similarities: Tensor, own: Tensor) -> Tensor:
    """Compute how well each prototype alone ranks the images of its class above the others: (P,) in [0, 1].

    The area under the ROC curve of its similarity. Source: CaBRNet's ``prototype_discrimination``.

    Args:
        similarities: (N, P). own: (N, P) bool, whether the image is of the prototype's class.

    Returns:
        NaN for a prototype without images of its class, or with no others.
    """
    return auroc(similarities, own)


def distinctiveness(maps: Tensor, there: Tensor) -> Tensor:
    """Compute how far a class's prototypes look at different places: 1 - mean overlap of pairs, (B,) in [0, 1].

    The overlap is that of their maps' most salient tenths, as in :func:`protomask.metrics.shared_first`: intersection
    over union, equal pixels shared out, a map's least value nowhere. Source: after Zhu et al., "Interpretable image
    classification via non-parametric part prototype learning" (CVPR 2025); the tenths and the overlap are a
    reconstruction.

    Args:
        maps: (B, K, H, W), those of K prototypes in the same image.
        there: (B, K) bool; the others do not count, nor do constant maps, which show no place.

    Returns:
        NaN where fewer than two count, or one of those that are there is not finite.
    """
    maps = as_values(maps, ("B", "K", "H", "W"), "maps")
    there = as_mask(there, maps.shape[:2], "there")
    first = _first_pixels(maps).flatten(2).double()
    both = first @ first.transpose(1, 2)
    size = both.diagonal(dim1=1, dim2=2)
    overlap = both / (size[:, :, None] + size[:, None] - both).clamp_min(1e-12)
    showing = there & (size > 0)
    pairs = (showing[:, :, None] & showing[:, None]).triu(1)
    known = pairs.any(2).any(1) & _known(maps, there)
    return 1 - torch.where(pairs, overlap, 0).sum((1, 2)) / torch.where(known, pairs.sum((1, 2)).float(), torch.nan)


def comprehensiveness(maps: Tensor, there: Tensor, mask: Tensor) -> Tensor:
    """Compute how much of the object a class's prototypes cover together: (B,) in [0, 1], higher is better.

    The share of the object's pixels within the most salient tenth of at least one map; equal pixels at its edge count
    with the part that fits, a constant map covers nothing. Source: as :func:`distinctiveness`, a reconstruction.

    Args:
        maps: (B, K, H, W). there: (B, K) bool. mask: (B, H, W) bool, the object.

    Returns:
        NaN where there is no object, or a map that counts is not finite.
    """
    maps = as_values(maps, ("B", "K", "H", "W"), "maps")
    there = as_mask(there, maps.shape[:2], "there")
    mask = as_mask(mask, (len(maps), *maps.shape[2:]), "mask")
    covered = _first_pixels(maps).masked_fill(~there[:, :, None, None], 0).amax(1)
    size = mask.sum((1, 2))
    return (covered * mask).sum((1, 2)) / torch.where((size > 0) & _known(maps, there), size.float(), torch.nan)


def _known(maps: Tensor, there: Tensor) -> Tensor:
    """(B,) whether all maps (B, K, H, W) that count are finite."""
    return (maps.isfinite().flatten(2).all(2) | ~there).all(1)


def _first_pixels(maps: Tensor) -> Tensor:
    """(B, K, H, W), the weight in [0, 1] of each pixel in the most salient tenth of its map."""
    return salient_pixels(as_maps(maps.flatten(0, 1), name="maps"), FIRST).view(maps.shape)
