"""Refining: a run without the prototypes that people want forgotten, with others in their places, and what it cost."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError
from protomask.explanations.predictions import picture_prototypes
from protomask.explanations.records import PrototypePicture
from protomask.networks import get_network
from protomask.report.evidence import find_evidence
from protomask.run.derived import after_projection, right, select, write_derived
from protomask.run.page import report_run
from protomask.run.pictures import save_inspected
from protomask.run.review import FILE, Region, Review, read_review, review_of
from protomask.run.setup import pictures_localizers, say
from protomask.run_folder import RunFolder, new_run
from protomask.statistics import bootstrap_difference
from protomask.training import Action, Epochs, predict, rate_answers, train
from protomask.training.forgetting import choose_starts, find_forbidden, project_allowed, settling
from protomask.training.stages import Objective

if TYPE_CHECKING:
    from protomask.run.opened import Run

MOST_LISTED = 500


def refine_run(
    run: Run,
    review: str | os.PathLike | Review | None = None,
    *,
    output: str | os.PathLike | None = None,
    epochs: int = 3,
) -> Run:
    """Make a run in which other patches stand in the places of forgotten prototypes; ``run`` stays as it is.

    What is forbidden, and how replacements are found, is in :mod:`protomask.training.forgetting`. Prototypes that are
    to be kept, and those that nobody judged or that are doubtful, stay exactly as they are; the last layer is fitted
    anew.
    Of a network whose prototypes are no patches of a shared feature map (XProtoNet) forgotten prototypes are removed.

    Args:
        run: its data are needed.
        review: a file, or what one holds; the run's own ``review.json`` by default.
        output: the new run's folder; by default one beside ``run``'s.
        epochs: in which the replacements settle.

    Returns:
        The new run; its ``refined.json`` compares both.

    Raises:
        InputError: nothing is to be forgotten, the review is of another run, a folder that is in use.
    """
    if epochs < 0:
        raise InputError(f"epochs is {epochs}; give at least 0")
    given = _review(run, review)
    forgotten = given.numbers("forget")
    if not forgotten:
        raise InputError(
            f"the review of {run.folder} forgets no prototype; mark one with: protomask serve {run.folder}"
        )
    with new_run(
        None if output is None else str(output), run.folder.parent, f"{run.folder.resolve().name}-refined"
    ) as files:
        return _refine(run, files, given, forgotten, epochs)


def _review(run: Run, given: str | os.PathLike | Review | None) -> Review:
    records = [picture.record for picture in run.pictures]
    if isinstance(given, Review):
        review, where = given, "the review"
    elif given is not None:
        review, where = read_review(Path(given)), str(given)
    else:
        review, where = review_of(run.folder), str(run.folder / FILE)
    review.check_fits(records, where)
    return review


def _refine(run: Run, files: RunFolder, review: Review, forgotten: list[int], epochs: int) -> Run:
    from protomask.run.opened import Run

    begin, pictures, setup = time.perf_counter(), run.pictures, run.setup
    network, module = copy.deepcopy(run.network), get_network(run.options.network)
    logits, labels = predict(network, run.test, setup, "test before")
    stages = module.stages(network, run.options)
    if isinstance(network, ComparesPatches):
        replaced, rows = _replace(run, network, stages, pictures, review, forgotten, epochs)
    else:
        replaced, rows = [], []
        network.keep([number for number in range(network.prototype_count) if number not in forgotten])
    rows += train(network, after_projection(stages), setup)
    after, _ = predict(network, run.test, setup, "test after")

    refined = Run(files, run.options, network, run.device, run.splits, progress=run.progress)
    outcome = _outcome(run, logits, after, labels, forgotten, replaced)
    outcome["kept"] = review.numbers("keep")
    write_derived(
        run,
        refined,
        "refined",
        {key: outcome[key] for key in ("from", "forgotten", "replaced")},
        rows,
        rate_answers(after, labels, run.test.classes),
    )
    if isinstance(network, ComparesPatches):
        new = _pictures(refined, pictures, replaced)
    else:
        kept = [number for number in range(len(pictures)) if number not in forgotten]
        new = select(pictures, kept, network)
    found = save_inspected(refined, new)
    _draw(refined, [pictures[number] for number in forgotten], "before")
    _draw(refined, [found[number] for number in replaced], "after")
    outcome["outside"] = {"before": _outside(pictures), "after": _outside(found)}
    files.write("refined.json", outcome)
    report_run(refined)
    metrics = refined.metrics
    metrics["seconds"]["refining"] = time.perf_counter() - begin
    files.write("metrics.json", metrics)
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
) -> tuple[list[int], list[dict]]:
    setup = run.setup
    evidence = [cell for number in forgotten for cell in _cells_of_mask(network, pictures[number])]
    outlined = [
        cell
        for region in review.regions()
        if region.meaning == "distraction"
        for cell in _cells_of_region(network, region)
    ]
    forbidden = find_forbidden(network, setup, evidence, forgotten, outlined)
    started = choose_starts(network, setup, forbidden, forgotten, run.options.seed)
    if missing := sorted(set(forgotten) - set(started)):
        owner = network.classes[int(network.prototype_classes[missing[0]])]
        raise InputError(
            f"no training image of {owner} has a patch that the review allows in the place of prototype {missing[0]}; "
            "forget less of it, or remove it with protomask prune"
        )
    objective = _objective(stages)
    resting = network.prototypes.detach().clone()
    rows = train(network, settling(network, objective, forbidden, forgotten, epochs), setup)
    with torch.no_grad():
        others = torch.ones(len(resting), dtype=torch.bool)
        others[forgotten] = False
        network.prototypes[others] = resting[others]
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


def _cells_of_mask(network, picture: PrototypePicture) -> list[tuple[int, int, int]]:
    """Training image, row and column of the cells in the evidence that a prototype's learned mask outlines."""
    name = next(iter(picture.maps))
    region = find_evidence(picture.maps[name]).region
    position = int(network.source_positions[picture.record.prototype])
    return [(position, row, column) for row, column in _cells(network, region)]


def _cells_of_region(network, region: Region) -> list[tuple[int, int, int]]:
    from PIL import Image, ImageDraw

    side = 256
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).polygon([(x * side, y * side) for x, y in region.corners], fill=255)
    position = int(network.source_positions[region.prototype])
    return [(position, row, column) for row, column in _cells(network, np.asarray(canvas) > 0)]


def _cells(network, inside: np.ndarray) -> list[tuple[int, int]]:
    """Cells of the feature map at least half of which is inside, (H, W) bool; patches must fit on the map."""
    rows, columns = network.grid
    high, wide = network.prototypes.shape[2:]
    weights = torch.from_numpy(inside.astype(np.float32))[None, None]
    shares = torch.nn.functional.adaptive_avg_pool2d(weights, (rows, columns))[0, 0]
    found = (shares >= 0.5).nonzero().tolist()
    return [(row, column) for row, column in found if row + high <= rows and column + wide <= columns]


def _pictures(refined: Run, before: Sequence[PrototypePicture], replaced: list[int]) -> list[PrototypePicture]:
    """The pictures of all: those of replaced prototypes anew, the others as they were, with their new weights."""
    setup, network = refined.setup, refined.network
    names = [name for name in before[0].maps if name != "similarity"]
    new = picture_prototypes(
        network,
        setup.plain,
        pictures_localizers(names or "similarity"),
        device=setup.device,
        batch_size=setup.batch_size,
        progress=setup.progress,
        index=replaced,
    )
    found = select(before, range(len(before)), network)
    for picture in new:
        found[picture.record.prototype] = picture
    return found


def _draw(refined: Run, pictures: Sequence[PrototypePicture], name: str) -> None:
    """Write the gallery of what was forgotten, or of what stands in its place, into ``refined/``."""
    from protomask.report import prototype_gallery, save_figure

    if pictures:
        figure = prototype_gallery(pictures, next(iter(pictures[0].maps)))
        save_figure(figure, refined.files / "refined" / f"{name}.png", dpi=110)


def _outcome(run: Run, before, after, labels, forgotten: list[int], replaced: list[int]) -> dict:
    good, now = right(before, labels), right(after, labels)
    interval = bootstrap_difference(now.double(), good.double(), seed=run.options.seed)
    names, classes = run.test.names, run.network.classes
    changed = []
    if not run.network.multi_label:
        one, other = before.argmax(1), after.argmax(1)
        changed = [
            {
                "image": names[place],
                "truth": classes[int(labels[place])],
                "before": classes[int(one[place])],
                "after": classes[int(other[place])],
            }
            for place in (one != other).nonzero().flatten().tolist()
        ]
    return {
        "from": str(run.folder),
        "forgotten": forgotten,
        "replaced": replaced,
        "test_images": len(good),
        "test_accuracy": {"before": good.double().mean().item(), "after": now.double().mean().item()},
        "difference": {"mean": interval.mean, "low": interval.low, "high": interval.high},
        "right_to_wrong": int((good & ~now).sum()),
        "wrong_to_right": int((~good & now).sum()),
        "changed": changed[:MOST_LISTED],
    }


def _outside(pictures: Sequence[PrototypePicture]) -> float | None:
    """Mean share of the prototypes' maps outside of the object; None where the object is not known."""
    shares = [
        next(iter(picture.inspection.outside.values()))
        for picture in pictures
        if picture.inspection is not None and picture.inspection.outside
    ]
    return float(np.mean(shares)) if shares else None


def in_words(outcome: dict) -> str:
    """Say in a line what the refining did."""
    scores, span = outcome["test_accuracy"], outcome["difference"]
    how = "replaced" if outcome["replaced"] else "removed"
    known = span["low"] is not None and np.isfinite(span["low"])
    interval = f" [{span['low']:+.3f}, {span['high']:+.3f}]" if known else ""
    outside = outcome.get("outside") or {}
    beside = (
        f"; {outside['before']:.0%} of the evidence beside the object before, {outside['after']:.0%} after"
        if outside.get("before") is not None and outside.get("after") is not None
        else ""
    )
    return (
        f"{how} {len(outcome['forgotten'])} prototypes; test accuracy {scores['before']:.3f} before, "
        f"{scores['after']:.3f} after ({span['mean']:+.3f}{interval}; {outcome['right_to_wrong']} images became wrong, "
        f"{outcome['wrong_to_right']} right){beside}"
    )
