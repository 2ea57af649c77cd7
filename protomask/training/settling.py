"""Let a network settle after prototypes were moved, without what is forbidden and without leaving what was asked for.

The moved prototypes learn; all others, and the features, rest. On demand (ours) the features learn, too, at a part of
the recipe's rates, from images in which what is forbidden is exchanged (:mod:`protomask.training.exchanging`). That has
two halves, as the recipe, with the projection of the moved prototypes between them; in the second half the features
settle around prototypes that rest. All prototypes that were not moved stay on their training patches: after each epoch
their vectors, as those of the forbidden and the given patches, become what the features make of these now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from protomask.training.exchanging import exchange
from protomask.training.forgetting import Forbidden, project_allowed
from protomask.training.given_parts import Given, project_on_given
from protomask.training.patches import cut_cells, source_of, with_prototypes
from protomask.training.stages import Action, Epochs, Objective, TrainingSet, warm_up_cosine

RATE = 3e-3
"""of the prototypes"""
FEATURES = 0.5
"""part of the recipe's last rates with which the features learn"""
WEIGHT = 1.0
"""of both terms beside the recipe's loss"""


class Settling(NamedTuple):
    """Hold under what a network settles."""

    objective: Objective
    """the recipe's"""
    rates: Mapping[str, float]
    """of the features, by attribute of the network; empty: they rest"""
    decay: Mapping[str, float]
    moved: Sequence[int]
    """prototypes that were moved; all others rest"""
    forbidden: Forbidden
    given: Mapping[int, Given]
    """those that may lie on given patches only"""

    @property
    def free(self) -> list[int]:
        return [number for number in self.moved if number not in self.given]


def settle_as(
    stages: Sequence[Epochs | Action], moved: Sequence[int], forbidden: Forbidden, given: Mapping[int, Given]
) -> Settling:
    """Take from a recipe what it minimises last, apart from a last layer alone, and the features' rates there."""
    last = next(
        stage
        for stage in reversed(stages)
        if isinstance(stage, Epochs) and any(not name.startswith("last_layer") for name in stage.rates)
    )
    rates = {
        name: FEATURES * rate
        for name, rate in last.rates.items()
        if name != "prototypes" and not name.startswith("last_layer")
    }
    return Settling(last.objective, rates, last.decay, moved, forbidden, given)


def settling(network: Any, wanted: Settling, epochs: int) -> list[Epochs | Action]:
    """Make the stages in which a network settles and its moved prototypes are projected.

    The loss is the recipe's + mean over those that are free of max_f relu(sim(p, f) - l(f)), f forbidden; + mean over
    those on given patches of how far they are from them, see :mod:`protomask.training.given_parts`.
    """
    terms = _Terms(network, wanted)
    project = Action("projection", terms.project)
    if not wanted.rates or not epochs:
        alone = Epochs("refine", epochs, terms, {"prototypes": RATE}, after=terms.rest)
        return [*([alone] if epochs else []), project]
    rates = {**wanted.rates, "prototypes": RATE}
    plan: list[Epochs | Action] = []
    for _ in range(epochs - epochs // 2):
        step = Epochs("refine", 1, terms, rates, wanted.decay, schedule=warm_up_cosine(), after=terms.rest)
        plan += [step, Action("look again", terms.look_again)]
    plan.append(project)
    for _ in range(epochs // 2):
        again = Action("look again", partial(terms.look_again, everything=True))
        plan += [Epochs("settle", 1, terms, wanted.rates, wanted.decay, schedule=warm_up_cosine()), again]
    return plan


class _Terms:
    """The loss, and what it compares prototypes with, which changes with the features."""

    def __init__(self, network: Any, wanted: Settling) -> None:
        self.wanted = wanted
        self.moving = torch.zeros(network.prototype_count, dtype=torch.bool, device=network.prototypes.device)
        self.moving[list(wanted.moved)] = True
        self.before = network.prototypes.detach().clone()
        self.forbidden = wanted.forbidden.probe
        self.given = {number: with_prototypes(network, each.patches) for number, each in wanted.given.items()}

    def __call__(self, network: Any, images: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """Compute the recipe's terms and these; ``others``: the labels, and what else the recipe's objective gets."""
        wanted, prototypes = self.wanted, network.prototypes
        self.before = prototypes.detach().clone()
        if wanted.rates:
            images = exchange(wanted.forbidden, images)
        terms = wanted.objective(network, images, *others)
        if wanted.free and len(wanted.forbidden.patches):
            near = self.forbidden.patch_similarities(prototypes[wanted.free]) - wanted.forbidden.levels
            terms["forbidden"] = near.relu().amax(1).mean()
            terms["loss"] = terms["loss"] + WEIGHT * terms["forbidden"]
        if wanted.given:
            away = [self._away(prototypes[number : number + 1], number) for number in wanted.given]
            terms["given"] = torch.stack(away).mean()
            terms["loss"] = terms["loss"] + WEIGHT * terms["given"]
        return terms

    def _away(self, prototype: Tensor, number: int) -> Tensor:
        """How far a prototype (1, D, k, k) is from the patches given to it, and into those of its other half."""
        each = self.wanted.given[number]
        near = self.given[number].patch_similarities(prototype)[0]
        away = (each.levels - near).amin().relu()
        if each.other is not None:
            away = away + (self.given[each.other].patch_similarities(prototype)[0].amax() - near.amax()).relu()
        return away

    @torch.no_grad()
    def rest(self, network: Any) -> None:
        """Put those that are not moved back to where they were before the step: the recipe's loss is of all."""
        network.prototypes[~self.moving] = self.before[~self.moving]

    @torch.no_grad()
    def project(self, network: Any, setup: TrainingSet) -> dict[str, float]:
        """Move the moved prototypes onto training patches."""
        given = {number: self._now(network, setup, number) for number in self.wanted.given}
        project_on_given(network, given, self.wanted.free)
        return project_allowed(network, setup, self.wanted.forbidden, self.wanted.free) if self.wanted.free else {}

    def _now(self, network: Any, setup: TrainingSet, number: int) -> Given:
        each = self.wanted.given[number]
        return each._replace(patches=cut_cells(network, setup, each.cells)) if self.wanted.rates else each

    @torch.no_grad()
    def look_again(self, network: Any, setup: TrainingSet, everything: bool = False) -> dict:
        """Take the vectors of all patches that stay anew, as the features see them now.

        Args:
            everything: the moved prototypes rest, too.
        """
        rest = torch.ones_like(self.moving) if everything else ~self.moving
        numbers = rest.nonzero().flatten().tolist()
        patches = cut_cells(network, setup, [source_of(network, number) for number in numbers])
        network.set_prototypes(torch.tensor(numbers, dtype=torch.long, device=setup.device), patches)
        self.forbidden = with_prototypes(network, cut_cells(network, setup, self.wanted.forbidden.sources))
        for number, each in self.wanted.given.items():
            self.given[number] = with_prototypes(network, cut_cells(network, setup, each.cells))
        return {}
