"""Does the map depend on the network at all? Parameter randomisation (Adebayo et al., NeurIPS 2018)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from protomask.errors import InputError
from protomask.metrics.faithfulness import minmax
from protomask.metrics.given import as_maps, unless_broken


def randomise_parameters(network: nn.Module, *, share: float = 1.0, seed: int = 0) -> nn.Module:
    """Copy a network and shuffle its parameters, from the output down.

    Each parameter tensor keeps its values, in random order, as in Adebayo et al. the layers are drawn again from their
    initial distribution: what was learned is lost, the scale stays. Buffers (BatchNorm statistics, the prototypes'
    classes) stay, too.

    Args:
        share: of the parameter tensors, counted from the last; less than 1 gives the steps of their cascading test.
        seed: of the orders.

    Raises:
        InputError: no module, or ``share`` is out of range.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"{type(network).__name__} is no torch module, so its parameters cannot be randomised")
    if not 0 <= share <= 1:
        raise InputError(f"share={share} of the parameters cannot be randomised; give 0 to 1")
    other = copy.deepcopy(network)
    parameters = list(other.parameters())[::-1]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters[: round(share * len(parameters))]:
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view(parameter.shape))
    return other


def map_correlation(saliency: Tensor, other: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of two maps' pixels, ties averaged: (B,) in [-1, 1].

    Between a network's map and its randomised copy's, lower is better: a map that stays the same shows the image, not
    the network.

    Args:
        saliency, other: (B, H, W).

    Returns:
        1 where both maps are constant (nothing changed); 0 where one is; NaN where one is not finite.
    """
    saliency, other = as_maps(saliency), as_maps(other, saliency[:, None], name="other")
    x, y = (_ranks(minmax(each).flatten(1)) for each in (saliency, other))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    size = (x.square().sum(1) * y.square().sum(1)).sqrt()
    correlation = ((x * y).sum(1) / size.clamp(min=torch.finfo(x.dtype).tiny)).clamp(-1, 1)
    both = (x.square().sum(1) == 0) & (y.square().sum(1) == 0)
    found = torch.where(both, 1.0, torch.where(size > 0, correlation, 0.0)).to(saliency.dtype)
    return unless_broken(found, saliency, other)


def _ranks(values: Tensor) -> Tensor:
    """Rank each row (B, N), float64, equal values sharing the mean of their ranks."""
    ordered = values.sort(1).values
    first, last = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (first + last + 1).double() / 2
