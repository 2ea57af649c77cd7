"""Changes of an image that are made to harm its map: attacks by projected gradient descent.

Spatial misalignment: can a prototype's similarity be changed from where the map says that it does not look? Source:
Sacha et al., "Interpretability benchmark for evaluating spatial misalignment of prototypical parts explanations" (AAAI
2024), measure PAC, the change of the prototype's activation.

:func:`move_evidence`: does a map stay when the evidence that it shows is taken away by a change that is hardly seen?
"""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.localizers.similarity import percentile_box
from protomask.metrics.faithfulness import change_step, minmax, relative_to_whole
from protomask.metrics.given import as_finite_maps, as_images, as_mask
from protomask.metrics.localization import box_regions
from protomask.metrics.scoring import Score, scoring
from protomask.places import as_index

EPSILON, STEP, STEPS = 0.1, 0.01, 20
"""The authors' attack: largest change of a normalised value, change in one step, steps."""


def outside_box(saliency: Tensor) -> Tensor:
    """Select what the published variant may change: all but the box around the 95th percentile of the map.

    (B, H, W) bool.

    Weak where maps are compared: the larger the box, the less there is to attack, and a map of noise, whose box is the
    image, comes out perfect.
    """
    saliency = as_finite_maps(saliency)
    boxes = [torch.tensor([percentile_box(each)], device=saliency.device, dtype=torch.float32) for each in saliency]
    return ~box_regions(boxes, *saliency.shape[1:]).to(saliency.device)


def outside_top(saliency: Tensor, share: float = 0.1) -> Tensor:
    """Select what the stricter variant may change: all but the most salient ``share`` of the pixels.

    (B, H, W) bool.

    Every map protects equally many pixels; of equal ones, the first in reading order.
    """
    saliency = as_finite_maps(saliency)
    pixels = saliency.shape[1] * saliency.shape[2]
    return change_step(saliency, pixels) > max(1, round(share * pixels))


def misalignment(
    score: Score,
    images: Tensor,
    index: Tensor,
    allowed: Tensor,
    *,
    epsilon: float = EPSILON,
    step: float = STEP,
    steps: int = STEPS,
    batch_size: int = 16,
) -> Tensor:
    """Compute by how many percent an attack on the pixels allowed lowers the similarity; lower is better.

    PAC; the attack is projected gradient descent.

    Known: the attack minimises the prototype's activation within an L-infinity ball, with the authors' numbers. They
    start at a random point of the ball, this at the image itself, so that nothing is random.

    Args:
        score: differentiable in the images.
        images: (B, 3, H, W), normalised.
        index: (B,) long.
        allowed: (B, H, W) bool, of :func:`outside_box` (published) or :func:`outside_top` (stricter).
        epsilon, step: in units of the normalised image.

    Returns:
        (B,) 100 * (1 - after / before); negative where the attack raised it, NaN where ``before`` is not positive.

    Raises:
        InputError: the index or the pixels are not those of the images; scores without a gradient.
    """
    index = as_index(index, as_images(images))
    allowed = as_mask(allowed, (len(images), *images.shape[2:]), "allowed")
    changes = []
    with torch.inference_mode(False), scoring(score, differentiated=True) as ask:
        # What was made under inference_mode can take no gradient; copies can.
        images, index = images.detach().clone(), index.clone()
        for part in torch.arange(len(images), device=images.device).split(batch_size):
            image, chosen = images[part], index[part]
            reach = epsilon * allowed[part, None].to(image.dtype)
            attacked = image.clone()
            for _ in range(steps):
                with torch.enable_grad():
                    leaf = attacked.detach().requires_grad_()
                    (gradient,) = torch.autograd.grad(ask(leaf, chosen).sum(), leaf)
                moved = attacked - step * gradient.nan_to_num().sign()
                attacked = torch.minimum(torch.maximum(moved, image - reach), image + reach)
            with torch.no_grad():
                before, after = (
                    ask(each, chosen).to(torch.promote_types(each.dtype, torch.float32)) for each in (image, attacked)
                )
            changes.append(100 * (1 - relative_to_whole(after, before)))
    return torch.cat(changes)


def move_evidence(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    reach: float | Tensor,
    bounds: tuple[Tensor, Tensor] | None = None,
    steps: int = STEPS,
    batch_size: int = 16,
) -> Tensor:
    """Change images a little so that what a map shows suffices no more, while the score of the whole image stays.

    Projected gradient descent (Madry et al., 2018) on s(x' m) - s(x') for the map m, scaled to [0, 1], in ``steps``
    steps of 2.5 reach / steps each; ours. Another map of x' is then better, and a method that is asked again may give
    it: the less its map moves, the less such a change can do.

    Args:
        score: differentiable in the images.
        images: (B, 3, H, W), normalised.
        index: (B,) long.
        saliency: (B, H, W), the maps of these images.
        reach: largest change of a value, in units of the normalised image; a number, or one per channel (3, 1, 1).
        bounds: least and greatest value of each channel, (3, 1, 1) each; None: any.

    Returns:
        (B, 3, H, W).

    Raises:
        InputError: the maps are not those of the images, or not finite.
    """
    index = as_index(index, as_images(images))
    if isinstance(saliency, Tensor):
        saliency = saliency.to(images.device)  # maps are often kept on the CPU
    saliency = as_finite_maps(saliency, images)
    found = []
    with torch.inference_mode(False), scoring(score, differentiated=True) as ask:
        # What was made under inference_mode can take no gradient; copies can.
        images, index = images.detach().clone(), index.clone()
        masks = minmax(saliency)[:, None].to(images.dtype)
        for part in torch.arange(len(images), device=images.device).split(batch_size):
            image, chosen, mask = images[part], index[part], masks[part]
            low, high = image - reach, image + reach
            if bounds is not None:
                low, high = torch.maximum(low, bounds[0]), torch.minimum(high, bounds[1])
            attacked = image.clone()
            for _ in range(steps):
                with torch.enable_grad():
                    leaf = attacked.detach().requires_grad_()
                    cost = ask(leaf * mask, chosen) - ask(leaf, chosen)
                    (gradient,) = torch.autograd.grad(cost.sum(), leaf)
                moved = attacked - 2.5 * reach / steps * gradient.nan_to_num().sign()
                attacked = torch.minimum(torch.maximum(moved, low), high)
            found.append(attacked.detach())
    return torch.cat(found)
