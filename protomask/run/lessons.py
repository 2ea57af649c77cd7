"""What a review asks of a network: prototypes to forget, to move onto an outlined place, to split in two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError
from protomask.explanations.records import PrototypePicture
from protomask.run.forbids import Forbids
from protomask.run.outlined_cells import Cell, cells_covering_regions, cells_of_masks, cells_of_regions
from protomask.run.review import Review
from protomask.training import Action, Epochs, TrainingSet, train
from protomask.training.forgetting import Forbidden, choose_starts, find_forbidden, sources_alike
from protomask.training.given_parts import Given, give_cells, give_halves, start_on_given
from protomask.training.patches import cut_cells, source_of
from protomask.training.settling import settle_as, settling


class Wanted(NamedTuple):
    """Hold a place at which some prototype of a class must look."""

    prototype: int
    """in whose source image it was outlined; its class is meant"""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Lessons:
    """What is to be changed; every other prototype rests."""

    forget: tuple[int, ...] = ()
    """replaced by others, or by what was outlined in their source images; their likes are forbidden"""
    misplaced: tuple[int, ...] = ()
    """those of ``forget`` that nobody marked so: they lie where none may come from, which alone is forbidden"""
    tolerated: tuple[int, ...] = ()
    """prototypes that lie at such a place, too, and stay since somebody marked them keep"""
    required: dict[int, tuple[Cell, ...]] = field(default_factory=dict)
    """prototype to the cells, outlined as evidence, on which it must lie and does not"""
    split: tuple[int, ...] = ()
    distractions: tuple[Cell, ...] = ()
    """cells from which no prototype may come, nor from what is like them"""
    covering: tuple[Cell, ...] = ()
    """cells from which none may come either: their patches cover a part of what was outlined"""
    added: tuple[Wanted, ...] = ()
    """places at which a further prototype of the class must look, where none comes from and none is to be replaced"""
    earlier: Forbids = Forbids()
    """what earlier refinements forbade and nobody outlined as a place to look at since"""
    owners: dict[Cell, int] = field(default_factory=dict)
    """class for whose prototype a distraction was outlined, where that is known"""

    @property
    def changed(self) -> list[int]:
        """The prototypes that do not stay as they are."""
        return sorted({*self.forget, *self.required, *self.split})

    @property
    def nothing(self) -> bool:
        """Whether nothing at all is to be changed."""
        return not self.changed and not self.added

    def why(self, number: int) -> str:
        """Say in a word why a prototype does not stay."""
        if number in self.split:
            return "split"
        if number in self.required:
            return "required"
        return "misplaced" if number in self.misplaced else "forgotten"


def find_lessons(review: Review, network: Any, earlier: Forbids | None = None) -> Lessons:
    """Read off a review what is to be changed.

    A place outlined as evidence moves its prototype there, unless it lies there already or is marked keep. A prototype
    with both is forgotten and replaced by the outlined place. One that lies where none may come from is replaced as if
    forgotten, unless somebody marked it keep. A place at which the class must look asks for nothing
    where a prototype of the class that stays lies there; else a forgotten prototype of the class moves there, or a
    further one is added. Networks whose prototypes are no patches of a shared feature map can forget alone.

    Args:
        earlier: what the refinements forbade that the network was made by; a place that was outlined since as one to
            look at is forbidden no more.
    """
    forget = tuple(review.numbers("forget"))
    if not isinstance(network, ComparesPatches):
        return Lessons(forget)
    regions, keep = review.regions(), review.numbers("keep")
    distractions = [region for region in regions if region.meaning == "distraction"]
    before = earlier or Forbids()
    since = [region for region in regions if before.at is None or region.is_later(before.at)]
    before = before.without(cells_of_regions(network, [region for region in since if region.meaning != "distraction"]))
    classes = _classes(network)
    owners = {
        cell: classes[region.prototype] for region in distractions for cell in cells_of_regions(network, [region])
    }
    outlined = tuple(dict.fromkeys((*owners, *before.outlined)))
    around = dict.fromkeys((*cells_covering_regions(network, distractions), *before.covering))
    covering = tuple(cell for cell in around if cell not in outlined)
    nowhere = {*outlined, *covering}
    spared = review.kept_by_somebody()
    there = [number for number in range(len(classes)) if source_of(network, number) in nowhere]
    leave = [number for number in there if number not in spared]
    wanted: dict[int, list[Cell]] = {}
    for region in regions:
        if region.meaning == "evidence" and region.prototype not in keep:
            wanted.setdefault(region.prototype, []).extend(cells_of_regions(network, [region]))
    required = {
        number: tuple(dict.fromkeys(cells))
        for number, cells in sorted(wanted.items())
        if number in forget or number in leave or source_of(network, number) not in cells
    }
    split = tuple(number for number in review.numbers("split") if number not in required)
    misplaced = tuple(number for number in leave if number not in (*forget, *required, *split))
    tolerated = tuple(number for number in there if number in spared and number not in (*required, *split))
    forget = tuple(sorted({*forget, *misplaced}))
    places = [
        Wanted(region.prototype, tuple(cells_of_regions(network, [region])))
        for region in regions
        if region.meaning == "class"
    ]
    required, added = _share_out(network, places, forget, required, split)
    return Lessons(
        forget,
        misplaced=misplaced,
        tolerated=tolerated,
        required=required,
        split=split,
        distractions=outlined,
        covering=covering,
        added=added,
        earlier=before,
        owners=owners,
    )


def _classes(network: Any) -> list[int]:
    return network.prototype_classes.tolist()


def check_possible(
    review: Review, network: Any, kind: str, *, epochs: int | None = None, features: bool = False
) -> None:
    """Raise InputError where a review asks more of a network than it can do, which :func:`find_lessons` leaves out.

    Args:
        kind: what the network is called.
        epochs, features: of :func:`protomask.run.refining.refine_run`, as far as somebody asked for them.
    """
    if isinstance(network, ComparesPatches):
        if features and epochs == 0:
            raise InputError(
                "features learn while the network settles, and epochs is 0; give 1 or more, or no features"
            )
        return
    if features:
        raise InputError(
            f"{kind} has prototypes that are no patches of one feature map: what is forgotten is removed, and no "
            "features learn; leave out features"
        )
    asked = "split them" if review.numbers("split") else "place them" if review.regions() else None
    if asked is not None:
        raise InputError(
            f"{kind} has prototypes that are no patches of one feature map, and cannot {asked}; keep or forget them"
            + (", and withdraw what was outlined" if asked == "place them" else "")
        )
    forget = review.numbers("forget")
    network.checked_selection([number for number in range(network.prototype_count) if number not in forget])


def _share_out(
    network: Any,
    places: Sequence[Wanted],
    forget: Sequence[int],
    required: dict[int, tuple[Cell, ...]],
    split: Sequence[int],
) -> tuple[dict[int, tuple[Cell, ...]], tuple[Wanted, ...]]:
    """Give each place at which a class must look to a forgotten prototype of it, or to one that is to be added."""
    required, added = dict(required), []
    classes = network.prototype_classes.tolist()
    taken = {cell for cells in required.values() for cell in cells}
    for place in places:
        own = [number for number, owner in enumerate(classes) if owner == classes[place.prototype]]
        stay = [number for number in own if number not in (*forget, *required, *split)]
        if not taken.isdisjoint(place.cells) or any(source_of(network, number) in place.cells for number in stay):
            continue
        taken.update(place.cells)
        free = [number for number in own if number in forget and number not in required]
        if free:
            required[free[0]] = place.cells
        else:
            added.append(place)
    return dict(sorted(required.items())), tuple(added)


class Increase(NamedTuple):
    """Hold the prototypes that stand behind all others from now on."""

    halves: dict[int, int]
    """a prototype that is split to its other half"""
    further: dict[int, Wanted]
    """a further prototype to the place at which it must look"""

    @property
    def numbers(self) -> list[int]:
        return [*self.halves.values(), *self.further]

    @property
    def origins(self) -> list[int]:
        """The prototypes of which they began as copies, in their order."""
        return [*self.halves, *(each.prototype for each in self.further.values())]


def add_prototypes(network: Any, lessons: Lessons) -> Increase:
    """Add the second halves of what is split, and what is asked for a class, behind all other prototypes."""
    count = network.prototype_count
    halves = {number: count + place for place, number in enumerate(lessons.split)}
    count += len(halves)
    further = {count + place: each for place, each in enumerate(lessons.added)}
    found = Increase(halves, further)
    if halves:
        network.add_copies(list(halves))
    for each in further.values():
        network.add_copies([each.prototype])
    return found


class Taught(NamedTuple):
    """Hold what teaching did."""

    moved: list[int]
    """numbers of the prototypes that do not stay on their patch"""
    rows: list[dict]
    """of the log"""
    forbids: Forbids
    """what is forbidden from now on"""
    features: bool
    """whether the features learned, too"""


def teach(
    network: Any,
    setup: TrainingSet,
    lessons: Lessons,
    increase: Increase,
    pictures: Sequence[PrototypePicture],
    stages: Sequence[Epochs | Action],
    epochs: int,
    seed: int,
    tell: Callable[[float, str], None],
    features: bool = True,
) -> Taught:
    """Change the prototypes as the lessons say; all others stay on their training patches.

    Args:
        network: changed in place, with the prototypes that were added.
        pictures: of the prototypes before.
        stages: of the recipe.
        epochs: in which the network settles.
        features: whether they learn, too.

    Raises:
        InputError: there is nothing in the training images that the review allows.
    """
    tell(0.05, "looking for what is like the forgotten")
    forbidden = _forbidden(network, setup, lessons, pictures)
    tell(0.15, "choosing other parts of the training pictures")
    given = _given(network, setup, lessons, increase, forbidden)
    free = [number for number in lessons.forget if number not in given]
    started = choose_starts(network, setup, forbidden, free, seed)
    if missing := sorted(set(free) - set(started)):
        number = missing[0]
        owner = network.classes[int(network.prototype_classes[number])]
        if number in lessons.misplaced:
            raise InputError(
                f"prototype {number} comes from a place outlined as one that must not count, and no training image of "
                f"{owner} has another patch that is allowed; mark it keep, withdraw the outline, or remove it with "
                "protomask prune"
            )
        raise InputError(
            f"no training image of {owner} has a patch that the review allows in the place of prototype {number}; "
            "forget less of it, or remove it with protomask prune"
        )
    start_on_given(network, given)
    wanted = settle_as(stages, sorted({*free, *given}), forbidden, given)
    if not features:
        wanted = wanted._replace(rates={})
    tell(0.25, "settling")
    plan = settling(network, wanted, epochs)
    steps = sum(stage.epochs if isinstance(stage, Epochs) else 1 for stage in plan)
    rows = train(network, plan, setup, log=lambda rows: tell(0.25 + 0.35 * len(rows) / steps, "settling"))
    cells = tuple(cell for cell in forbidden.sources if cell not in lessons.distractions)
    forbids = Forbids(cells, lessons.distractions, lessons.covering)
    return Taught(list(wanted.moved), rows, forbids, bool(wanted.rates) and epochs > 0)


def _forbidden(network: Any, setup: TrainingSet, lessons: Lessons, pictures: Sequence[PrototypePicture]) -> Forbidden:
    wanted = {cell for cells in lessons.required.values() for cell in cells}
    wanted |= {cell for place in lessons.added for cell in place.cells}
    forgotten = [number for number in lessons.forget if number not in lessons.misplaced]
    classes = network.prototype_classes.tolist()
    owners, evidence = dict(lessons.owners), list(lessons.earlier.cells)
    for number in forgotten:
        masked = cells_of_masks(network, pictures, [number])
        evidence += masked
        owners.update(dict.fromkeys(masked, classes[number]))
    evidence = [cell for cell in evidence if cell not in wanted]
    return find_forbidden(network, setup, evidence, forgotten, lessons.distractions, lessons.covering, owners)


def _given(
    network: Any, setup: TrainingSet, lessons: Lessons, increase: Increase, forbidden: Forbidden
) -> dict[int, Given]:
    before, given = copy.deepcopy(network), {}
    places = {**lessons.required, **{number: place.cells for number, place in increase.further.items()}}
    for number, cells in places.items():
        found = give_cells(before, setup, number, cells, forbidden)
        if found is None:
            shown = increase.further[number].prototype if number in increase.further else number
            raise InputError(
                f"what was outlined for prototype {shown} {_refused(before, setup, cells, lessons, forbidden)}"
            )
        given[number] = found
    for number in lessons.split:
        both = give_halves(before, setup, number, increase.halves[number], forbidden)
        if both is None:
            owner = network.classes[int(network.prototype_classes[number])]
            raise InputError(
                f"{owner} has too few training images with a patch that the review allows to split prototype {number}; "
                "keep or forget it"
            )
        given.update(both)
    return given


def _refused(network: Any, setup: TrainingSet, cells: Sequence[Cell], lessons: Lessons, forbidden: Forbidden) -> str:
    """Say by whom outlined cells are forbidden, and what to do about it."""
    alike = sources_alike(forbidden, cut_cells(network, setup, cells))
    blocked = [cell for cell in cells if cell in lessons.covering]
    earlier = {cell for kind in lessons.earlier.kinds for cell in kind}
    if {*alike, *blocked} <= earlier:
        return (
            "is like what earlier refinements forbade; outline another part, or refine the run that this one was made "
            "of"
        )
    return (
        "is like what the review forgets or outlines as what must not count; outline another part, forget less, or "
        "withdraw that outline"
    )
