"""What a review asks of a network: prototypes to forget, to move onto an outlined place, to split in two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError
from protomask.explanations.records import PrototypePicture
from protomask.run.outlined_cells import Cell, cells_of_masks, cells_of_regions
from protomask.run.review import Review
from protomask.training import Action, Epochs, TrainingSet, train
from protomask.training.forgetting import Forbidden, choose_starts, find_forbidden, project_allowed
from protomask.training.given_parts import Given, give_cells, give_halves, project_on_given, start_on_given
from protomask.training.settling import settling
from protomask.training.stages import Objective


@dataclass(frozen=True)
class Lessons:
    """What is to be changed; every other prototype rests."""

    forget: tuple[int, ...] = ()
    """their likes are forbidden; replaced by others, or by what was outlined in their source images"""
    required: dict[int, tuple[Cell, ...]] = field(default_factory=dict)
    """prototype to the cells, outlined as evidence, on which it must lie and does not"""
    split: tuple[int, ...] = ()
    distractions: tuple[Cell, ...] = ()
    """cells from which no prototype may come"""

    @property
    def changed(self) -> list[int]:
        """The prototypes that do not stay as they are."""
        return sorted({*self.forget, *self.required, *self.split})

    def why(self, number: int) -> str:
        """Say in a word why a prototype does not stay."""
        if number in self.split:
            return "split"
        return "required" if number in self.required else "forgotten"


def find_lessons(review: Review, network: Any) -> Lessons:
    """Read off a review what is to be changed.

    A place outlined as evidence moves its prototype there, unless it lies there already or is marked keep. A prototype
    with both is forgotten and replaced by the outlined place. Networks whose prototypes are no patches of a shared
    feature map can forget alone.
    """
    forget = tuple(review.numbers("forget"))
    if not isinstance(network, ComparesPatches):
        return Lessons(forget)
    regions, keep = review.regions(), review.numbers("keep")
    wanted: dict[int, list[Cell]] = {}
    for region in regions:
        if region.meaning == "evidence" and region.prototype not in keep:
            wanted.setdefault(region.prototype, []).extend(cells_of_regions(network, [region]))
    required = {
        number: tuple(dict.fromkeys(cells))
        for number, cells in sorted(wanted.items())
        if number in forget or _cell_of(network, number) not in cells
    }
    split = tuple(number for number in review.numbers("split") if number not in required)
    distractions = cells_of_regions(network, [region for region in regions if region.meaning == "distraction"])
    return Lessons(forget, required, split, tuple(dict.fromkeys(distractions)))


def _cell_of(network: Any, number: int) -> Cell:
    row, column = network.source_locations[number].tolist()
    return int(network.source_positions[number]), row, column


def add_halves(network: Any, lessons: Lessons) -> dict[int, int]:
    """Give every prototype that is split a second half, behind all others: number to the half's number."""
    halves = {number: network.prototype_count + place for place, number in enumerate(lessons.split)}
    if halves:
        network.add_copies(list(halves))
    return halves


def teach(
    network: Any,
    setup: TrainingSet,
    lessons: Lessons,
    halves: dict[int, int],
    pictures: Sequence[PrototypePicture],
    stages: Sequence[Epochs | Action],
    epochs: int,
    seed: int,
    tell: Callable[[float, str], None],
) -> tuple[list[int], list[dict]]:
    """Change the prototypes as the lessons say; features and all other prototypes rest.

    Args:
        network: changed in place, with the halves of what is split.
        pictures: of the prototypes before.
        stages: of the recipe.
        epochs: in which those that moved settle.

    Returns:
        The numbers of those that moved, and the rows of the log.

    Raises:
        InputError: there is nothing in the training images that the review allows.
    """
    tell(0.05, "looking for what is like the forgotten")
    forbidden = _forbidden(network, setup, lessons, pictures)
    tell(0.15, "choosing other parts of the training pictures")
    given = _given(network, setup, lessons, halves, forbidden)
    free = [number for number in lessons.forget if number not in given]
    started = choose_starts(network, setup, forbidden, free, seed)
    if missing := sorted(set(free) - set(started)):
        owner = network.classes[int(network.prototype_classes[missing[0]])]
        raise InputError(
            f"no training image of {owner} has a patch that the review allows in the place of prototype {missing[0]}; "
            "forget less of it, or remove it with protomask prune"
        )
    start_on_given(network, given)
    moved = sorted({*free, *given})
    resting = network.prototypes.detach().clone()
    tell(0.25, "settling")
    rows = train(
        network,
        settling(network, _objective(stages), moved, forbidden, given, epochs),
        setup,
        log=lambda rows: tell(0.25 + 0.25 * len(rows) / epochs, "settling"),
    )
    with torch.no_grad():
        others = torch.ones(len(resting), dtype=torch.bool)
        others[moved] = False
        network.prototypes[others] = resting[others]
    tell(0.5, "moving onto the nearest training patches")
    project_on_given(network, given)
    rows.append({"stage": "projection", **(project_allowed(network, setup, forbidden, free) if free else {})})
    return moved, rows


def _forbidden(network: Any, setup: TrainingSet, lessons: Lessons, pictures: Sequence[PrototypePicture]) -> Forbidden:
    wanted = {cell for cells in lessons.required.values() for cell in cells}
    evidence = [cell for cell in cells_of_masks(network, pictures, lessons.forget) if cell not in wanted]
    return find_forbidden(network, setup, evidence, lessons.forget, lessons.distractions)


def _given(
    network: Any, setup: TrainingSet, lessons: Lessons, halves: dict[int, int], forbidden: Forbidden
) -> dict[int, Given]:
    before, given = copy.deepcopy(network), {}
    for number, cells in lessons.required.items():
        found = give_cells(before, setup, number, cells, forbidden)
        if found is None:
            raise InputError(
                f"what was outlined for prototype {number} is like what the review forgets; outline another part, or "
                "forget less"
            )
        given[number] = found
    for number in lessons.split:
        both = give_halves(before, setup, number, halves[number])
        if both is None:
            owner = network.classes[int(network.prototype_classes[number])]
            raise InputError(f"{owner} has too few training images to split prototype {number}; keep or forget it")
        given.update(both)
    return given


def _objective(stages: Sequence[Epochs | Action]) -> Objective:
    """Find what the recipe minimises last, apart from a last layer alone."""
    return next(
        stage.objective
        for stage in reversed(stages)
        if isinstance(stage, Epochs) and any(not name.startswith("last_layer") for name in stage.rates)
    )
