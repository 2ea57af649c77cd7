"""Does a map stay where nothing that can be seen has changed? Noise below half a grey level, and max-sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protomask.metrics.faithfulness import change_step, minmax

HALF_LEVEL = 0.5 / 255 / 0.226
"""Half of one of 256 grey levels, in the units of an image normalised by ImageNet's standard deviations."""
RADIUS, SAMPLES = 0.02, 4
"""Of max-sensitivity: how far an image's values are moved, as in captum, and how often."""


def nearby(images: Tensor, seeds: Sequence[int], radius: float | Tensor = HALF_LEVEL) -> Tensor:
    """Add uniform noise to normalised images (N, 3, H, W); one seed per image.

    Args:
        radius: the noise's greatest size, in units of the normalised image; a number, or one per channel (3, 1, 1).
            The default rounds to the same 8-bit image.
    """
    noise = [
        torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)) for image, seed in zip(images, seeds)
    ]
    return images + (2 * torch.stack(noise).to(images) - 1) * radius


def shared_first(saliency: Tensor, other: Tensor, share: float = 0.1) -> Tensor:
    """Compute what the most salient pixels of two maps share, intersection over union: (B,), higher is better.

    Args:
        saliency, other: (B, H, W).
        share: of the pixels; of equal ones, the first in reading order.
    """
    count = max(1, round(share * saliency[0].numel()))
    one, two = (change_step(each, each[0].numel()) <= count for each in (saliency, other))
    return (one & two).sum((1, 2)) / (one | two).sum((1, 2))


def max_sensitivity(saliency: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Compute how far a map moves at most when the image moves a little: (B,), lower is better.

    max over the others of |map' - map| / |map|, of maps scaled to [0, 1] by their least and greatest value.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations" (NeurIPS 2019), as in captum, whose
    images are moved uniformly by at most 0.02 (:func:`nearby`), and which draws 10 of them; NaN where a map is
    constant.

    Args:
        saliency: (B, H, W). others: maps of images nearby, (B, H, W) each.
    """
    at = minmax(saliency).flatten(1)
    moved = torch.stack([(minmax(other).flatten(1) - at).norm(dim=1) for other in others]).amax(0)
    size = at.norm(dim=1)
    return torch.where(size > 0, moved / size, torch.nan)
