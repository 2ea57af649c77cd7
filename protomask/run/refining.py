"""Refining: a run that does what people asked for in a review, and what that cost."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError, first_of
from protomask.explanations.records import PrototypePicture
from protomask.explanations.sources import picture_prototypes
from protomask.given import as_count, as_flag, as_path
from protomask.gradients import with_gradients
from protomask.localizers.amortised.files import ABOUT
from protomask.report.wording import listed
from protomask.run.derived import after_projection, origin_name, select, write_derived
from protomask.run.forbids import Forbids, read_forbids, write_forbids
from protomask.run.lessons import Increase, Lessons, Taught, add_prototypes, check_possible, find_lessons, teach
from protomask.run.page import report_run
from protomask.run.pictures import save_inspected
from protomask.run.refined import carry_over, compare_answers, draw_changes, in_words, outside
from protomask.run.review import Review, join_reviews, read_review, review_of
from protomask.run.setup import plan_of, say
from protomask.run_folder import RunFolder, folder_beside, new_run
from protomask.suggested import command
from protomask.training import predict, rate_answers, train

if TYPE_CHECKING:
    from protomask.run.opened import Run

Tell = Callable[[float, str], None]
"""called with the share of the work that is done, in [0, 1], and with what begins"""


EPOCHS = 3
"""in which a network settles, unless others are asked for"""

Reviews = str | os.PathLike | Sequence[str | os.PathLike] | Review | None
"""a file of judgements, several files, or what one holds; None: the run's own"""


@with_gradients
def refine_run(
    run: Run,
    review: Reviews = None,
    *,
    output: str | os.PathLike | None = None,
    epochs: int | None = None,
    features: bool = False,
    tell: Tell = lambda share, words: None,
) -> Run:
    """Make a run in which prototypes are forgotten, moved, added or split as a review asks; ``run`` stays as it is.

    What is forbidden, and how replacements are found, is in :mod:`protomask.training.forgetting`; outlined places that
    prototypes must lie on, and splitting, in :mod:`protomask.training.given_parts`; what learns, in
    :mod:`protomask.training.settling`. Prototypes that are to be kept, and those that nobody judged or that are
    doubtful, stay on their training patches, and so do their judgements; the last layer is fitted anew. What earlier
    refinements of ``run`` forbade stays forbidden.
    Of a network whose prototypes are no patches of a shared feature map (XProtoNet) forgotten prototypes are removed.

    Args:
        run: its data are needed.
        review: a file or several, or what one holds; the run's own ``review.json`` by default.
        output: the new run's folder; by default one beside ``run``'s.
        epochs: in which the network settles; ``EPOCHS`` by default. Where prototypes are removed nothing settles,
            which a line says.
        features: whether the features learn, too, from images in which what is forbidden changes places; prototypes
            that are not changed then stay on their training patches, and else exactly as they are.
        tell: how far it is.

    Returns:
        The new run; its ``refined.json`` compares both.

    Raises:
        InputError: nothing is to be changed, the review is of another run, it asks for what the network cannot do, or
            ``features`` do where it cannot learn so, a folder that is in use.
    """
    epochs, features = None if epochs is None else as_count(epochs, "epochs", 0), as_flag(features, "features")
    given = find_review(run, review)
    lessons = find_lessons(given, run.network, read_forbids(run.files, run.network, run.setup.plain))
    check_possible(given, run.network, run.options.network, epochs=epochs, features=features)
    if epochs is not None and not isinstance(run.network, ComparesPatches):
        say(f"note: {run.options.network} does not settle, as what is forgotten is removed; epochs counts for nothing")
    if features and run.files.has(ABOUT):
        raise InputError(
            f"{run.folder} has a distilled explainer, which knows the features as they are; let them rest, or distill "
            "the refined run anew after removing it from this one"
        )
    kept = _tolerated(lessons)
    if lessons.nothing:
        raise InputError(
            f"{_named(run, review)} asks for no change (forget, split, a place to look at, or one that must not count "
            f"and a prototype comes from){_disputes(given)}{f', and {kept}' if kept else ''}; mark a prototype with: "
            f"{command('serve', run.folder)}"
        )
    if kept:
        say(f"note: {kept}")
    with new_run(
        None if output is None else as_path(output, "output"),
        folder_beside(run.folder),
        refined_name(run.folder),
        whole=True,
    ) as files:
        return _refine(run, files, given, lessons, EPOCHS if epochs is None else epochs, features, tell)


def refined_name(folder: Path) -> str:
    """Name what is made of the run in ``folder``: a run that was refined already is not called so twice."""
    return re.sub(r"-refined(-\d+)?$", "", folder.resolve().name) + "-refined"


def find_review(run: Run, given: Reviews = None) -> Review:
    """Give a review that fits the run; its own where none is given.

    Raises:
        InputError: one is of another run, or no review.
    """
    records = [picture.record for picture in run.pictures]
    if isinstance(given, Review):
        given.check_fits(records, "the review")
        return given
    if given is None:
        return review_of(run.folder, records)
    paths = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    found = [(read_review(as_path(path, "review")), path) for path in paths]
    for review, path in found:
        review.check_fits(records, str(path))
    return join_reviews(review for review, _ in found)


def _named(run: Run, given: Reviews) -> str:
    if given is None:
        return f"the review of {run.folder}"
    if isinstance(given, str | os.PathLike):
        return f"the review in {os.fspath(given)}"
    return f"the review in {listed([str(path) for path in given])}" if isinstance(given, Sequence) else "the review"


def _disputes(review: Review) -> str:
    """Say on which prototypes people differ, which are therefore left as they are."""
    found = [f"prototype {number}" for number, each in review.standing().items() if each.disputed]
    return f", as people differ on {first_of(found, 3)}" if found else ""


def _tolerated(lessons: Lessons) -> str:
    """Say which prototypes lie where none may come from, and stay since somebody keeps them."""
    found = [f"prototype {number}" for number in lessons.tolerated]
    if not found:
        return ""
    come, are = ("comes", "is") if len(found) == 1 else ("come", "are")
    return f"{first_of(found, 3)} {come} from a place outlined as one that must not count, but {are} marked keep"


def _refine(
    run: Run, files: RunFolder, review: Review, lessons: Lessons, epochs: int, features: bool, tell: Tell
) -> Run:
    from protomask.run.opened import Run

    tell(0.0, "looking at the test pictures")
    begin, pictures, setup = time.perf_counter(), run.pictures, run.setup
    network = copy.deepcopy(run.network)
    logits, labels = predict(network, run.test, setup, "test before")
    stages = plan_of(network, run.options)
    if isinstance(network, ComparesPatches):
        increase = add_prototypes(network, lessons)
        taught = teach(
            network, setup, lessons, increase, pictures, stages, epochs, run.options.seed, tell, features=features
        )
        old = [*range(len(pictures)), *increase.origins]
    else:
        increase, taught = Increase({}, {}), Taught([], [], Forbids(), False)
        old = [number for number in range(len(pictures)) if number not in lessons.forget]
        network.keep(old)
    moved, rows = taught.moved, taught.rows
    tell(0.6, "fitting the last layer")
    rows += train(network, after_projection(stages), setup)
    tell(0.7, "looking at the test pictures again")
    after, _ = predict(network, run.test, setup, "test after")

    refined = Run(files, run.options, network, run.device, run.splits, progress=run.progress)
    outcome = {
        "from": origin_name(run),
        "forgotten": list(lessons.forget),
        "misplaced": list(lessons.misplaced),
        "required": sorted(lessons.required),
        "split": list(lessons.split),
        "added": list(increase.further),
        "replaced": [number for number in lessons.forget if number in moved],
        "kept": review.numbers("keep"),
        "pairs": [
            {"before": number, "after": _successors(number, moved, increase.halves), "why": lessons.why(number)}
            for number in lessons.changed
        ]
        + [{"before": each.prototype, "after": [now], "why": "added"} for now, each in increase.further.items()],
        **compare_answers(run, logits, after, labels),
    }
    write_derived(
        run,
        refined,
        "refined",
        {key: outcome[key] for key in ("from", "forgotten", "required", "split", "added", "replaced")},
        rows,
        rate_answers(after, labels, run.test.classes),
        {key: outcome[key] for key in ("test_accuracy", "right_to_wrong", "wrong_to_right")},
    )
    tell(0.75, "drawing what the prototypes look at")
    drawn = range(len(old)) if taught.features else moved
    found = save_inspected(refined, _pictures(refined, pictures, old, drawn))
    outcome["outside"] = {"before": outside(pictures), "after": outside(found)}
    tell(0.9, "writing the report")
    draw_changes(run, refined, outcome, found)
    report_run(refined)
    carry_over(review, refined, {before: now for now, before in enumerate(old) if now not in moved})
    write_forbids(files, taught.forbids, setup.plain)
    metrics = refined.metrics
    metrics["seconds"]["refining"] = time.perf_counter() - begin
    files.write("metrics.json", metrics)
    files.write("refined.json", outcome)
    say(in_words(outcome, run.network.multi_label))
    say(f"the refined run is in {files.folder}; {run.folder} is as it was")
    return refined


def _successors(number: int, moved: Sequence[int], halves: dict[int, int]) -> list[int]:
    """Give the numbers of what stands in a prototype's place."""
    return [each for each in (number, halves.get(number, -1)) if each in moved]


def _pictures(
    refined: Run, before: Sequence[PrototypePicture], old: Sequence[int], changed: Sequence[int]
) -> list[PrototypePicture]:
    """Give the pictures of all: those of ``changed`` anew, the others as they were, with their new weights.

    Args:
        old: by new number, which one it was.
        changed: new numbers.
    """
    setup, network = refined.setup, refined.network
    found = select(before, old, network)
    if changed:
        names = [name for name in before[0].maps if name != "similarity"]
        new = picture_prototypes(
            network,
            setup.plain,
            refined.localizers(names or "similarity", pictures=True),
            device=setup.device,
            batch_size=setup.batch_size,
            progress=setup.progress,
            index=list(changed),
        )
        for picture in new:
            found[picture.record.prototype] = picture
    return found
