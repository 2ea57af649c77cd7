"""Pruning: a run without some of its prototypes, and what that cost in accuracy."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from protomask.errors import InputError, first_of
from protomask.explanations.inspection import FLAGS, OUTSIDE
from protomask.explanations.records import Inspection, PrototypePicture
from protomask.given import short
from protomask.gradients import with_gradients
from protomask.places import as_places, check_numbers
from protomask.report.wording import accuracy_of_images, count
from protomask.run.derived import after_projection, origin_name, right, select, write_derived
from protomask.run.forbids import FILE as FORBIDDEN
from protomask.run.forbids import read_forbids
from protomask.run.page import report_run
from protomask.run.pictures import save_inspected
from protomask.run.refined import carry_over
from protomask.run.review import FILE, Review, review_of
from protomask.run.setup import plan_of, say
from protomask.run_folder import RunFolder, folder_beside, new_run
from protomask.training import predict, rate_answers, train

if TYPE_CHECKING:
    from protomask.run.opened import Run


@with_gradients
def prune_run(
    run: Run,
    prototypes: Sequence[int] | None = None,
    *,
    flagged: str | Sequence[str] | None = None,
    output: str | os.PathLike | None = None,
) -> Run:
    """Make a run without some of the prototypes, with the last layer re-fitted, pictures and report; ``run`` stays as
    it is. What people marked of the prototypes that stay goes along, and what refinements of ``run`` forbade.

    Args:
        run: its data are needed.
        prototypes: numbers of those that go. Without them the flagged ones.
        flagged: of ``FLAGS``; by default all of them.
        output: the new run's folder; by default one beside ``run``'s.

    Returns:
        The new run; ``run`` itself where no prototype is flagged, and nothing is written.

    Raises:
        InputError: no such prototype, a class that would lose its last one, a folder that is in use, a review or a
            list of what is forbidden in ``run``'s folder that is damaged or not its own.
    """
    check_choice(prototypes, flagged)
    name = f"{run.folder.resolve().name}-pruned"
    with new_run(output, folder_beside(run.folder), name, whole=True) as files:
        return _prune(run, files, prototypes, flagged)


def _prune(run: Run, files: RunFolder, prototypes: Sequence[int] | None, flagged: str | Sequence[str] | None) -> Run:
    from protomask.run.opened import Run

    begin, pictures = time.perf_counter(), run.pictures
    removed = _flagged(pictures, flagged, run) if prototypes is None else _numbers(prototypes)
    if not removed:
        say("no prototype is flagged; nothing to remove, nothing written")
        return run
    count = run.network.prototype_count
    check_numbers(torch.tensor(removed), count, "prototype")
    kept = run.network.checked_selection([number for number in range(count) if number not in removed]).tolist()
    review, forbidden = review_of(run.folder, [picture.record for picture in pictures]), run.files.read(FORBIDDEN)
    read_forbids(run.files, run.network, run.setup.plain)  # of other images: told before the work
    if left := _left_behind(review, removed):
        say(
            f"note: {left} of where other prototypes should or must not look stay behind in {run.folder / FILE}; to "
            "have them heeded, refine before pruning"
        )

    setup, network = run.setup, copy.deepcopy(run.network)
    logits, labels = predict(network, run.test, setup, "test before")
    before = right(logits, labels)
    network.keep(kept)
    without = right(*predict(network, run.test, setup, "test without"))
    rows = train(network, after_projection(plan_of(network, run.options)), setup)
    answers = predict(network, run.test, setup, "test after")
    after = right(*answers)

    pruned = Run(files, run.options, network, run.device, run.splits, progress=run.progress)
    outcome = {
        "from": origin_name(run),
        "prototypes": count,
        "removed": removed,
        "test_accuracy": {"before": _mean(before), "without_refitting": _mean(without), "after": _mean(after)},
        "right_to_wrong": int((before & ~after).sum()),
        "wrong_to_right": int((~before & after).sum()),
    }
    write_derived(
        run,
        pruned,
        "pruned",
        {key: outcome[key] for key in ("from", "removed")},
        rows,
        {**rate_answers(*answers, run.test.classes), "pruned": outcome},
        outcome,
    )
    save_inspected(pruned, select(pictures, kept, network))
    report_run(pruned)
    carry_over(review, pruned, {old: new for new, old in enumerate(kept)})
    if forbidden is not None:
        pruned.files.write(FORBIDDEN, forbidden)  # as old as it is: what was outlined since is weighed against it
    metrics = pruned.metrics
    metrics["seconds"]["pruning"] = time.perf_counter() - begin
    pruned.files.write("metrics.json", metrics)
    say(in_words(outcome, run.network.multi_label))
    say(f"the pruned run is in {files.folder}; {run.folder} is as it was")
    return pruned


def _left_behind(review: Review, removed: Sequence[int]) -> str:
    """Tell of outlines that ask something of other prototypes, too, and that go with the picture they were made in."""
    outlines = [each for each in review.regions() if each.prototype in removed and each.meaning != "evidence"]
    pictures = [f"prototype {number}" for number in sorted({each.prototype for each in outlines})]
    return f"outlines in the picture of {first_of(pictures, 3)}" if outlines else ""


def check_choice(prototypes: Sequence[int] | None, flagged: str | Sequence[str] | None) -> None:
    """Raise InputError unless one of the two at most says which prototypes go, in known words."""
    if prototypes is not None and flagged is not None:
        raise InputError("prototypes and flagged exclude each other; choose one")
    if flagged is not None:
        _kinds(flagged)


def in_words(outcome: dict, findings: bool = False) -> str:
    scores = outcome["test_accuracy"]
    return (
        f"removed {len(outcome['removed'])} of {outcome['prototypes']} prototypes; {accuracy_of_images(findings)} "
        f"{scores['before']:.3f} "
        f"before, {scores['without_refitting']:.3f} without them, {scores['after']:.3f} with the last layer re-fitted "
        f"({count(outcome['right_to_wrong'], 'image')} became wrong, {outcome['wrong_to_right']} right)"
    )


def _numbers(prototypes: Sequence[int]) -> list[int]:
    """Sorted, each once."""
    numbers = sorted(set(as_places(prototypes, "prototypes").tolist()))
    if not numbers:
        raise InputError(f"prototypes is {short(prototypes)}; give numbers of prototypes, for example [3, 7]")
    return numbers


def _flagged(pictures: Sequence[PrototypePicture], given: str | Sequence[str] | None, run: Run) -> list[int]:
    """Numbers of the flagged prototypes; of a class whose prototypes are all flagged the best one stays."""
    chosen = FLAGS if given is None else _kinds(given)
    inspections = {
        picture.record.prototype: picture.inspection for picture in pictures if picture.inspection is not None
    }
    if len(inspections) < len(pictures):
        raise InputError(
            f"{run.folder} has no inspection.json, so nothing is flagged yet; make it with: protomask project "
            f"{run.folder}"
        )
    numbers = [prototype for prototype, inspection in inspections.items() if set(inspection.flags) & set(chosen)]
    for name in dict.fromkeys(picture.record.class_name for picture in pictures):
        members = [picture for picture in pictures if picture.record.class_name == name]
        if all(picture.record.prototype in numbers for picture in members):
            best, why = _best(members)
            numbers.remove(best)
            say(f"every prototype of class {name} is flagged; {best}, {why}, stays")
    return sorted(numbers)


def _best(pictures: Sequence[PrototypePicture]) -> tuple[int, str]:
    """Choose the prototype of a class that stays where all are flagged, and say by what."""

    def rank(picture: PrototypePicture) -> tuple[float, float, float]:
        told: Any = picture.inspection
        # Where no box or mask tells the object, it is neither on it nor on the background.
        return _share_outside(told, OUTSIDE), -_discrimination(told), -picture.record.weight

    best = min(pictures, key=rank)
    inspections: list[Any] = [picture.inspection for picture in pictures]
    if best.inspection is not None and best.inspection.outside:
        why = "the one most on the object"
    elif any(inspection.outside for inspection in inspections):
        why = "the one that is least on the background as far as boxes and masks tell"
    elif len({_discrimination(inspection) for inspection in inspections}) > 1:
        why = "the one that tells its class best"
    else:
        why = "the one of the greatest weight"
    return best.record.prototype, why


def _discrimination(inspection: Inspection) -> float:
    return 0.5 if inspection.discrimination is None else inspection.discrimination


def _kinds(given: str | Sequence[str]) -> tuple[str, ...]:
    words = given.split(",") if isinstance(given, str) else given if isinstance(given, Iterable) else ()
    chosen = tuple(word.strip() for word in map(str, words) if word.strip())
    if not chosen or any(word not in FLAGS for word in chosen):
        raise InputError(f"flagged is {short(given)}; choose from {', '.join(FLAGS)}")
    return chosen


def _share_outside(inspection: Inspection, unknown: float) -> float:
    return next(iter(inspection.outside.values()), unknown)


def _mean(right: torch.Tensor) -> float:
    return right.double().mean().item()
