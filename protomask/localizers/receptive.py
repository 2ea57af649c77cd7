"""The similarity map, each cell spread over its effective receptive field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.capabilities import HasSimilarityMaps
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.given import as_count
from protomask.localizers.base import check_pairs, min_max, require_finite_maps


@dataclass(frozen=True)
class ReceptiveField:
    """Spread each cell of the similarity map over its effective receptive field: sum over c of (s_c - min s) * G_c.

    s is the similarity map and G_c the effective receptive field of cell c.

    Upsampling draws a cell's similarity on the cell's own square; a deep network's cell depends on far more pixels, and
    on some of them hardly. The *effective* receptive field (Luo et al., NeurIPS 2016) is taken from gradients, on the
    image at hand: |ds_c/dx| summed over channels. Luo et al. find it Gaussian, so G_c (ours) is the Gaussian with that
    gradient's centre and covariance, of sum 1, which is free of the gradient's noise. The theoretical receptive field,
    which most deep networks stretch over the whole image, is not used.

    Needs ``explained.similarity_maps(images, index) -> (B, h, w)``, differentiable. A cell without gradient (a
    similarity cut off at 0) counts nothing.

    Args:
        batch_size: pairs computed together.

    Cost: one forward pass and h * w backward passes per pair.
    """

    batch_size: int = 8

    def __post_init__(self) -> None:
        as_count(self.batch_size, "ReceptiveField: batch_size")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; InputError if ``explained`` has no similarity maps."""
        index = check_pairs(images, index, explained)
        if not isinstance(explained, HasSimilarityMaps):
            raise InputError(
                f"{type(explained).__name__} has no similarity maps, so localizer 'receptive-field' cannot explain it; "
                "those that need scores alone can: mdm, rise, occlusion"
            )
        if not len(images):
            raise InputError("there are no images to explain; give at least one")
        maps = []
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            frozen(explained),
            tqdm(total=len(images), desc="receptive fields", unit="map", disable=not progress) as bar,
        ):
            for start in range(0, len(images), self.batch_size):
                part, chosen = (each[start : start + self.batch_size].detach().clone() for each in (images, index))
                places = range(start, start + len(part))
                maps.append(_spread(explained, part.requires_grad_(), chosen.long(), places))
                bar.update(len(part))
        return min_max(torch.cat(maps))


def _spread(explained: HasSimilarityMaps, images: Tensor, index: Tensor, places: range) -> Tensor:
    similarity = explained.similarity_maps(images, index)
    if similarity.ndim != 3 or len(similarity) != len(images):
        raise InputError(
            f"similarity_maps(images, index) gave the shape {tuple(similarity.shape)}; it must give one map per image, "
            f"({len(images)}, h, w)"
        )
    if not similarity.requires_grad:
        raise InputError(
            f"the similarity maps of {type(explained).__name__} have no gradient; localizer 'receptive-field' needs one"
        )
    cells = require_finite_maps(similarity, explained, places).flatten(1)
    weights = (cells - cells.amin(1, keepdim=True)).detach().float()
    total = images.new_zeros(len(images), *images.shape[-2:], dtype=torch.float32)
    for cell in range(cells.shape[1]):
        # Pairs do not see each other, so that the gradient of the sum is each pair's own.
        (slope,) = torch.autograd.grad(cells[:, cell].sum(), images, retain_graph=True)
        total += weights[:, cell, None, None] * _gaussian(slope.abs().sum(1))
    return total


def _gaussian(mass: Tensor) -> Tensor:
    """Fit to each map of ``mass`` (B, H, W) >= 0 the Gaussian of its centre and covariance, of sum 1 (0 for no
    mass)."""
    mass = mass.double().nan_to_num(0.0, 0.0, 0.0)
    weight = mass.sum((1, 2), keepdim=True)
    share = mass / weight.clamp_min(1e-300)
    places = torch.meshgrid(
        *(torch.arange(side, dtype=torch.float64, device=mass.device) for side in mass.shape[1:]), indexing="ij"
    )
    down, right = (place - (share * place).sum((1, 2), keepdim=True) for place in places)
    # A single pixel has no spread: that of a pixel's own square keeps the Gaussian finite.
    vertical, across, horizontal = (
        (share * one * two).sum((1, 2), keepdim=True) for one, two in ((down, down), (down, right), (right, right))
    )
    vertical, horizontal = vertical + 1 / 12, horizontal + 1 / 12
    squares = (horizontal * down**2 - 2 * across * down * right + vertical * right**2) / (
        vertical * horizontal - across**2
    )
    bell = torch.exp(-squares / 2)
    return torch.where(weight > 0, bell / bell.sum((1, 2), keepdim=True), 0.0).float()
