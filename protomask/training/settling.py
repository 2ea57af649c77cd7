"""Let prototypes that were moved settle under the recipe's loss, without leaving what a person asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from protomask.training.forgetting import Forbidden
from protomask.training.given_parts import Given
from protomask.training.patches import with_prototypes
from protomask.training.stages import Action, Epochs, Objective

RATE = 3e-3


def settling(
    network: Any,
    objective: Objective,
    moved: Sequence[int],
    forbidden: Forbidden,
    given: Mapping[int, Given],
    epochs: int,
    weight: float = 1.0,
) -> list[Epochs | Action]:
    """Make the stage in which the moved prototypes alone settle; all others rest.

    The loss is the recipe's + ``weight`` * (mean over those that are free of max_f relu(sim(p, f) - l(f)), f forbidden;
    + mean over those on given patches of how far they are from them, see :mod:`protomask.training.given_parts`).

    Args:
        moved: all of them.
        given: those that may lie on given patches only.
    """
    moving = torch.zeros(network.prototype_count, dtype=torch.bool, device=network.prototypes.device)
    moving[list(moved)] = True
    free = [number for number in moved if number not in given]
    targets = with_prototypes(network, forbidden.patches) if free and len(forbidden.patches) else None
    probes = {number: with_prototypes(network, each.patches) for number, each in given.items()}

    def loss(network: Any, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms = objective(network, images, labels)
        # Those that are not moved rest, whatever the optimiser.
        resting = torch.where(moving.view(-1, 1, 1, 1), network.prototypes, network.prototypes.detach())
        if targets is not None:
            near = targets.patch_similarities(resting[free]) - forbidden.levels
            terms["forbidden"] = near.relu().amax(1).mean()
            terms["loss"] = terms["loss"] + weight * terms["forbidden"]
        if given:
            away = [_away(resting[number : number + 1], number, given, probes) for number in given]
            terms["given"] = torch.stack(away).mean()
            terms["loss"] = terms["loss"] + weight * terms["given"]
        return terms

    return [Epochs("refine", epochs, loss, {"prototypes": RATE})] if epochs else []


def _away(prototype: Tensor, number: int, given: Mapping[int, Given], probes: Mapping[int, Any]) -> Tensor:
    """How far a prototype (1, D, k, k) is from the patches given to it, and into those of its other half."""
    each = given[number]
    near = probes[number].patch_similarities(prototype)[0]
    away = (each.levels - near).amin().relu()
    if each.other is not None:
        away = away + (probes[each.other].patch_similarities(prototype)[0].amax() - near.amax()).relu()
    return away
