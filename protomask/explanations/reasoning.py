"""How much of a network's decisions the prototypes that people are shown explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor
from torch.nn import functional as F

from protomask.explanations.records import Inspection
from protomask.prototype_network import PrototypeNetwork

SHOWN = 5
"""The explained share is that of so many strongest prototypes."""
ENOUGH = 0.9
"""share of the points that the decisive prototypes of a decision carry"""


@dataclass(frozen=True)
class Reasoning:
    """Sum up how well prototypes explain decisions, as in ``metrics.json``; means over test images.

    Points are a prototype's similarity times its weight to the class that is predicted; with findings, to the most
    probable one. A finding's bias counts as no prototype's.
    """

    explained_share: float | None
    """share of the absolute points that the ``SHOWN`` strongest prototypes carry, in [0, 1]; None without test images,
    or where no prototype gives any points"""
    decisive_prototypes: float | None
    """how many of the strongest prototypes carry ``ENOUGH`` of the absolute points (the metric ``explanation_size`` is
    another number: those with at least a hundredth of them)"""
    sparsity: float
    """share of the last layer's weights that are 0"""
    background: float | None
    """share of the prototypes, of those whose object is known, that lie on the background; None where none is known"""
    known_objects: float
    """share of the prototypes whose object is known, in [0, 1]"""
    common: float | None
    """share of the prototypes, of those with test images of their own class and of others, that are found as often in
    other classes as in their own; None where there are no such images"""
    duplicates: float
    """share of the prototypes that another one of the class makes superfluous"""

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        """Say it in one sentence."""
        parts = []
        if self.background is not None:
            of = "" if self.known_objects == 1 else f" (of the {self.known_objects:.0%} whose object is known)"
            parts.append(f"{self.background:.0%} of the prototypes on the background{of}")
        if self.common is not None:
            parts.append(f"{self.common:.0%}{'' if parts else ' of the prototypes'} common to all classes")
        parts.append(f"{self.duplicates:.0%}{'' if parts else ' of the prototypes'} duplicates")
        if self.explained_share is not None:
            parts.append(
                f"the {SHOWN} strongest carry {self.explained_share:.0%} of a decision's points, and "
                f"{self.decisive_prototypes:.1f} on average carry {ENOUGH:.0%}"
            )
        return "; ".join([", ".join(parts[:-1]), parts[-1]] if self.explained_share is not None else [", ".join(parts)])


def sum_up_reasoning(network: PrototypeNetwork, similarities: Tensor, inspections: Sequence[Inspection]) -> Reasoning:
    """Sum up how well prototypes explain the network's decisions.

    Args:
        network: any; its last layer is read.
        similarities: (N, P) of test images.
        inspections: of every prototype.
    """
    weight = network.last_layer.weight.detach().cpu()
    bias = None if network.last_layer.bias is None else network.last_layer.bias.detach().cpu()
    predicted = F.linear(similarities, weight, bias).argmax(1)
    shares, sizes = point_shares(similarities * weight[predicted])
    placed = [each for each in inspections if each.outside]
    compared = [each for each in inspections if each.discrimination is not None]

    def flagged(kind: str, among: Sequence[Inspection]) -> float:
        return sum(kind in each.flags for each in among) / max(len(among), 1)

    return Reasoning(
        explained_share=shares.mean().item() if len(shares) else None,
        decisive_prototypes=sizes.float().mean().item() if len(sizes) else None,
        sparsity=(weight == 0).double().mean().item(),
        background=flagged("background", placed) if placed else None,
        known_objects=len(placed) / max(len(inspections), 1),
        common=flagged("common", compared) if compared else None,
        duplicates=flagged("duplicate", inspections),
    )


def point_shares(points: Tensor, shown: int = SHOWN, enough: float = ENOUGH) -> tuple[Tensor, Tensor]:
    """Compute the share of the ``shown`` strongest points and the number that carries ``enough``, per image.

    >>> shares, sizes = point_shares(torch.tensor([[6.0, -3.0, 1.0, 0.0]]), shown=2)
    >>> round(shares.item(), 6), sizes.item()
    (0.9, 2)

    Args:
        points: (N, P), of either sign; images without any points are left out.
        shown: at least 1.
        enough: in (0, 1].

    Returns:
        (n,) in [0, 1], and (n,) long.
    """
    sizes = points.double().abs().sort(1, descending=True).values
    totals = sizes.sum(1, keepdim=True)
    shares = (sizes.cumsum(1) / totals)[totals.flatten() > 0]
    # Rounding must not ask for one prototype more.
    return shares[:, min(shown, shares.shape[1]) - 1], (shares < enough - 1e-9).sum(1) + 1
