"""Does a map stay where nothing that can be seen has changed? Noise below half a grey level, and max-sensitivity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.metrics.faithfulness import minmax
from protomask.metrics.given import as_images, as_list, as_maps, draw_noise, salient_pixels, unless_broken

HALF_LEVEL = 0.5 / 255 / 0.229
"""Half of one of 256 grey levels, in the units of an image normalised by ImageNet's standard deviations; by the
greatest of them, so that it is no more in any channel."""
RADIUS, SAMPLES = 0.02, 4
"""Of max-sensitivity: how far an image's values are moved, as in captum, and how often."""


def nearby(images: Tensor, seeds: Sequence[int], radius: float | Tensor = HALF_LEVEL) -> Tensor:
    """Add uniform noise to normalised images (N, 3, H, W); one seed per image.

    Args:
        radius: the noise's greatest size, in units of the normalised image; a number, or one per channel (3, 1, 1).
            The default rounds to the same 8-bit image where images are normalised as ImageNet's;
            :func:`with_unseen_noise` does wherever the standard deviations are known.

    Raises:
        InputError: no images in floating point, or not one seed for each.
    """
    return images + (2 * draw_noise(torch.rand, images, seeds).to(images) - 1) * radius


def with_unseen_noise(images: Tensor, std: Sequence[float], seeds: Sequence[int]) -> Tensor:
    """Add noise that rounds to the same 8-bit image, by at most half a grey level, to images normalised by ``std``.

    Args:
        images: (N, C, H, W).
        std: one number per channel, or one for all.
        seeds: one per image.
    """
    return nearby(
        images,
        seeds,
        torch.tensor([0.5 / 255 / each for each in std], dtype=torch.float32).view(-1, 1, 1).to(as_images(images)),
    )


def shared_first(saliency: Tensor, other: Tensor, share: float = 0.1) -> Tensor:
    """Compute what the most salient pixels of two maps share, intersection over union: (B,), higher is better.

    Where equal pixels are too many for the share, each counts with the part of them that fits; those of a map's least
    value are not salient and never count, so that a map that is mostly zero has its spot alone. With these weights
    w and v it is sum(w v) / (sum(w^2) + sum(v^2) - sum(w v)): 1 for equal maps, 0 for maps of disjoint spots, and
    intersection over union where every weight is 0 or 1. No order of the pixels has a part in it.

    Args:
        saliency, other: (B, H, W).
        share: of the pixels.

    Returns:
        NaN where ``saliency`` is constant, which says nothing, and where a map is not finite; 0 where ``other`` alone
        is constant: nothing of the map is left.

    Raises:
        InputError: the maps are not of one shape.
    """
    saliency = as_maps(saliency)
    other = as_maps(other, saliency[:, None], name="other")
    one, two = (salient_pixels(each, share) for each in (saliency, other))
    both, own = (one * two).sum(1), one.square().sum(1)
    shared = torch.where(own > 0, both / (own + two.square().sum(1) - both), torch.nan)
    return unless_broken(shared, saliency, other)


def max_sensitivity(saliency: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Compute how far a map moves at most when the image moves a little: (B,), lower is better.

    max over the others of |map' - map| / |map|, of maps scaled to [0, 1] by their least and greatest value.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations" (NeurIPS 2019), as in captum, whose
    images are moved uniformly by at most 0.02 (:func:`nearby`), and which draws 10 of them; NaN where a map is
    constant.

    Args:
        saliency: (B, H, W). others: maps of images nearby, (B, H, W) each.

    Raises:
        InputError: no others, or some that are not of the maps' shape.
    """
    saliency = as_maps(saliency)
    wanted = "the maps of at least one image nearby"
    others = [as_maps(other, saliency[:, None], name="others") for other in as_list(others, "others", wanted)]
    if not others:
        raise InputError(f"others is empty; give {wanted}")
    at = minmax(saliency).flatten(1)
    moved = torch.stack([(minmax(other).flatten(1) - at).norm(dim=1) for other in others]).amax(0)
    size = at.norm(dim=1)
    return torch.where(size > 0, moved / size, torch.nan)
