"""Refining: a run without the prototypes that people want forgotten, with others in their places, and what it cost."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError
from protomask.explanations.predictions import picture_prototypes
from protomask.explanations.records import PrototypePicture
from protomask.networks import get_network
from protomask.run.derived import after_projection, select, write_derived
from protomask.run.outlined_cells import cells_of_masks, cells_of_regions
from protomask.run.page import report_run
from protomask.run.pictures import save_inspected
from protomask.run.refined import carry_over, compare_answers, draw_changes, in_words, outside
from protomask.run.review import FILE, Review, join_reviews, read_review, review_of
from protomask.run.setup import say
from protomask.run_folder import RunFolder, new_run
from protomask.training import Action, Epochs, predict, rate_answers, train
from protomask.training.forgetting import choose_starts, find_forbidden, project_allowed, settling
from protomask.training.stages import Objective

if TYPE_CHECKING:
    from protomask.run.opened import Run

Tell = Callable[[float, str], None]
"""called with the share of the work that is done, in [0, 1], and with what begins"""


Reviews = str | os.PathLike | Sequence[str | os.PathLike] | Review | None
"""a file of judgements, several files, or what one holds; None: the run's own"""


def refine_run(
    run: Run,
    review: Reviews = None,
    *,
    output: str | os.PathLike | None = None,
    epochs: int = 3,
    tell: Tell = lambda share, words: None,
) -> Run:
    """Make a run in which other patches stand in the places of forgotten prototypes; ``run`` stays as it is.

    What is forbidden, and how replacements are found, is in :mod:`protomask.training.forgetting`. Prototypes that are
    to be kept, and those that nobody judged or that are doubtful, stay exactly as they are, and so do their judgements;
    the last layer is fitted anew.
    Of a network whose prototypes are no patches of a shared feature map (XProtoNet) forgotten prototypes are removed.

    Args:
        run: its data are needed.
        review: a file or several, or what one holds; the run's own ``review.json`` by default.
        output: the new run's folder; by default one beside ``run``'s.
        epochs: in which the replacements settle.
        tell: how far it is.

    Returns:
        The new run; its ``refined.json`` compares both.

    Raises:
        InputError: nothing is to be forgotten, the review is of another run, a folder that is in use.
    """
    if epochs < 0:
        raise InputError(f"epochs is {epochs}; give at least 0")
    given = find_review(run, review)
    forgotten = given.numbers("forget")
    if not forgotten:
        raise InputError(
            f"the review of {run.folder} forgets no prototype; mark one with: protomask serve {run.folder}"
        )
    with new_run(None if output is None else str(output), run.folder.parent, refined_name(run.folder)) as files:
        return _refine(run, files, given, forgotten, epochs, tell)


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
        review = review_of(run.folder)
        review.check_fits(records, str(run.folder / FILE))
        return review
    paths = [given] if isinstance(given, str | os.PathLike) else list(given)
    found = [(read_review(Path(path)), path) for path in paths]
    for review, path in found:
        review.check_fits(records, str(path))
    return join_reviews(review for review, _ in found)


def _refine(run: Run, files: RunFolder, review: Review, forgotten: list[int], epochs: int, tell: Tell) -> Run:
    from protomask.run.opened import Run

    tell(0.0, "looking at the test pictures")
    begin, pictures, setup = time.perf_counter(), run.pictures, run.setup
    network, module = copy.deepcopy(run.network), get_network(run.options.network)
    logits, labels = predict(network, run.test, setup, "test before")
    stages = module.stages(network, run.options)
    if isinstance(network, ComparesPatches):
        replaced, rows = _replace(run, network, stages, pictures, review, forgotten, epochs, tell)
    else:
        replaced, rows = [], []
        network.keep([number for number in range(network.prototype_count) if number not in forgotten])
    tell(0.6, "fitting the last layer")
    rows += train(network, after_projection(stages), setup)
    tell(0.7, "looking at the test pictures again")
    after, _ = predict(network, run.test, setup, "test after")

    refined = Run(files, run.options, network, run.device, run.splits, progress=run.progress)
    outcome = {
        "from": str(run.folder),
        "forgotten": forgotten,
        "replaced": replaced,
        "kept": review.numbers("keep"),
        "pairs": [{"before": number, "after": [number] if number in replaced else []} for number in forgotten],
        **compare_answers(run, logits, after, labels),
    }
    write_derived(
        run,
        refined,
        "refined",
        {key: outcome[key] for key in ("from", "forgotten", "replaced")},
        rows,
        rate_answers(after, labels, run.test.classes),
    )
    tell(0.75, "drawing what the prototypes look at")
    old = [number for number in range(len(pictures)) if replaced or number not in forgotten]
    found = save_inspected(refined, _pictures(refined, pictures, old, replaced))
    outcome["outside"] = {"before": outside(pictures), "after": outside(found)}
    tell(0.9, "writing the report")
    draw_changes(run, refined, outcome, found)
    report_run(refined)
    carry_over(review, refined, {before: now for now, before in enumerate(old) if now not in replaced})
    metrics = refined.metrics
    metrics["seconds"]["refining"] = time.perf_counter() - begin
    files.write("metrics.json", metrics)
    files.write("refined.json", outcome)
    say(in_words(outcome))
    say(f"the refined run is in {files.folder}; {run.folder} is as it was")
    return refined


def _replace(
    run: Run,
    network,
    stages: list[Epochs | Action],
    pictures: Sequence[PrototypePicture],
    review: Review,
    forgotten: list[int],
    epochs: int,
    tell: Tell,
) -> tuple[list[int], list[dict]]:
    setup = run.setup
    tell(0.05, "looking for what is like the forgotten")
    distractions = [region for region in review.regions() if region.meaning == "distraction"]
    evidence = cells_of_masks(network, pictures, forgotten)
    outlined = cells_of_regions(network, distractions)
    forbidden = find_forbidden(network, setup, evidence, forgotten, outlined)
    tell(0.15, "choosing other parts of the training pictures")
    started = choose_starts(network, setup, forbidden, forgotten, run.options.seed)
    if missing := sorted(set(forgotten) - set(started)):
        owner = network.classes[int(network.prototype_classes[missing[0]])]
        raise InputError(
            f"no training image of {owner} has a patch that the review allows in the place of prototype {missing[0]}; "
            "forget less of it, or remove it with protomask prune"
        )
    objective = _objective(stages)
    tell(0.25, "settling")
    resting = network.prototypes.detach().clone()
    rows = train(
        network,
        settling(network, objective, forbidden, forgotten, epochs),
        setup,
        log=lambda rows: tell(0.25 + 0.25 * len(rows) / epochs, "settling"),
    )
    with torch.no_grad():
        others = torch.ones(len(resting), dtype=torch.bool)
        others[forgotten] = False
        network.prototypes[others] = resting[others]
    tell(0.5, "moving onto the nearest training patches")
    begin = time.perf_counter()
    moved = project_allowed(network, setup, forbidden, forgotten)
    rows.append({"stage": "projection", "seconds": time.perf_counter() - begin, **moved})
    return forgotten, rows


def _objective(stages: list[Epochs | Action]) -> Objective:
    """What the recipe minimises last, apart from a last layer alone."""
    return next(
        stage.objective
        for stage in reversed(stages)
        if isinstance(stage, Epochs) and any(not name.startswith("last_layer") for name in stage.rates)
    )


def _pictures(
    refined: Run, before: Sequence[PrototypePicture], old: Sequence[int], replaced: Sequence[int]
) -> list[PrototypePicture]:
    """The pictures of all: those of replaced prototypes anew, the others as they were, with their new weights.

    Args:
        old: by new number, which one it was.
        replaced: new numbers.
    """
    setup, network = refined.setup, refined.network
    found = select(before, old, network)
    if replaced:
        names = [name for name in before[0].maps if name != "similarity"]
        new = picture_prototypes(
            network,
            setup.plain,
            refined.localizers(names or "similarity", pictures=True),
            device=setup.device,
            batch_size=setup.batch_size,
            progress=setup.progress,
            index=list(replaced),
        )
        for picture in new:
            found[picture.record.prototype] = picture
    return found
