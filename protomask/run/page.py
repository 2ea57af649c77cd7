"""The report: one self-contained page of everything a run knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from protomask import distributed
from protomask.capabilities import ComparesPatches
from protomask.data import collate
from protomask.errors import InputError
from protomask.evaluation import Evaluation
from protomask.explanations.files import read_nearest_maps
from protomask.explanations.photographs import photographs
from protomask.explanations.predictions import explain
from protomask.explanations.records import Explanation
from protomask.given import as_count
from protomask.labels import right_answers
from protomask.report.answers import Answers
from protomask.report.encoding import QUALITY, SMALL_SIDE
from protomask.report.series import shown_curves
from protomask.report.views import are_pooled
from protomask.run.results import Report
from protomask.run.setup import say
from protomask.run_folder import UNFINISHED
from protomask.suggested import command
from protomask.training import predict

if TYPE_CHECKING:
    from protomask.run.opened import Run

EXPLAINED = 8
"""test images that the report explains"""


def report_run(run: Run, *, quality: int = QUALITY, explained: int = EXPLAINED, figures: str | None = None) -> Report:
    """Write ``report.html``; sections whose files are missing are left out. Of several processes each does its share.

    Args:
        run: with pictures of its prototypes. Its data are needed for explained images alone; where these are not to be
            had, the prototypes' nearest test images are left out.
        quality: of the photographs, 1 to 100.
        explained: test images that it explains, up to half of them wrong ones, more only where too few are right.
        figures: format in which its figures are written one by one, too (png, pdf, svg); None does not.
    """
    from protomask.report import write_report

    explained, quality = as_count(explained, "explained", 0), as_count(quality, "quality", 1, 100)
    files, pictures = run.files, run.pictures
    evaluation = Evaluation.load(files / "evaluation.json") if files.has("evaluation.json") else None
    answers = test_answers(run, needed=explained > 0)
    explanations = [] if answers is None else explain_test_images(run, pictures, explained, answers)
    path, log = files / "report.html", files.read("log.jsonl") or []
    write_report(
        path,
        config=files.read("config.json") or files.read(UNFINISHED),
        metrics=files.read("metrics.json") or {},
        log=log,
        pictures=pictures,
        explanations=explanations,
        evaluation=evaluation,
        answers=answers,
        audit=files.read("audit.json"),
        test_images=small_test_images(run, pictures, needed=explained > 0),
        nearest_maps=read_nearest_maps(files),
        vectors=run.network.prototypes.detach().float().cpu().numpy(),
        quality=quality,
        can_replace=isinstance(run.network, ComparesPatches),
    )

    def draw() -> list[Path]:
        several = run.network.multi_label
        return (
            write_figures(files / "figures", figures, pictures, explanations, evaluation, log, several)
            if figures
            else []
        )

    written = distributed.only_first(draw) or []
    report = Report(path, tuple(written))
    say(report.text())
    if figures:
        say(f"{len(written)} figures in {files / 'figures'}")
    return report


_FIGURE = re.compile(r"panel_\d+|localizers|official|curves|training")
"""what :func:`write_figures` calls its files"""


def write_figures(
    folder: Path,
    kind: str,
    pictures: list,
    explanations: list[Explanation],
    evaluation: Evaluation | None,
    log: list[dict],
    findings: bool = False,
) -> list[Path]:
    """Give the report's figures one by one, for a paper or a talk; ``kind`` is the format (pdf and svg keep lines as
    vectors).

    ``panel_1``, ...: the explained images; ``localizers``: their strongest prototype by every localizer; ``official``:
    ten prototypes beside the official ProtoPNet's picture of them, where they are patches as its own are; ``curves``
    and ``training`` where there are any.
    """
    from protomask.report import (
        beside_official,
        curves,
        localizer_grid,
        save_figure,
        this_looks_like_that,
        training_curves,
    )

    first = next(iter(pictures[0].maps))
    figures = {f"panel_{number}": this_looks_like_that(each, first) for number, each in enumerate(explanations, 1)}
    rows = [(each.name.rsplit("/", 1)[-1], each.image, each.matches[0].maps) for each in explanations]
    if rows:
        figures["localizers"] = localizer_grid(
            rows,
            levels=pictures[0].record.levels,
            title="The strongest prototype of each image, by every localizer",
            nothing_to_keep=[each.matches[0].nothing_to_keep for each in explanations],
        )
    if first != "similarity" and not are_pooled(pictures):
        figures["official"] = beside_official(
            pictures[:: max(1, len(pictures) // 10)][:10],
            first,
            classes=[picture.record.class_name for picture in pictures],
        )
    if evaluation is not None and evaluation.curves:
        figures["curves"] = curves(shown_curves(evaluation))
    if any("loss" in row or "train_accuracy" in row for row in log):
        figures["training"] = training_curves(log, findings)
    written = [save_figure(figure, folder / f"{name}.{kind}") for name, figure in figures.items()]
    for path in folder.glob(f"*.{kind}"):  # of a report before, with more images, or an evaluation
        if path not in written and _FIGURE.fullmatch(path.stem):
            path.unlink()
    return written


def small_test_images(run: Run, pictures: list, needed: bool = True) -> dict[int, np.ndarray]:
    """Give the prototypes' nearest test images, by position in the test images; none where the data are not to be had,
    unless they are ``needed``. Several processes share the reading."""
    inspections = [picture.inspection for picture in pictures if picture.inspection is not None]
    positions = sorted({near.position for each in inspections for near in each.nearest})
    if not positions:
        return {}
    try:
        test = run.test
    except InputError as error:
        if needed:
            raise
        say(f"without the prototypes' nearest test images: {error}")
        return {}
    images = distributed.share_out(positions, lambda position: photographs(test, [position], SMALL_SIDE)[0])
    return dict(zip(positions, images))


def test_answers(run: Run, needed: bool = True) -> Answers | None:
    """Find what the network answers on all test images; None where the data are not to be had, unless ``needed``."""
    try:
        test = run.test
    except InputError as error:
        if needed:
            raise
        say(f"without the answers on the test images: {error}")
        return None
    return Answers(test.classes, test.names, *predict(run.network, test, run.setup, "test images"))


def explain_test_images(
    run: Run, pictures: list, count: int = EXPLAINED, answers: Answers | None = None
) -> list[Explanation]:
    """Explain test images chosen by the run's seed alone: right ones, of different classes first, then wrong ones, up
    to half the number, or more where too few are right."""
    if count < 1:
        return []
    test, setup = run.test, run.setup
    answers = answers or test_answers(run)
    assert answers is not None
    right = right_answers(answers.logits, answers.labels) == 1
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(run.options.seed)).tolist()
    wrong, correct = ([place for place in order if bool(right[place]) is answer] for answer in (False, True))
    first_of: dict = {}
    for place in correct:
        first_of.setdefault(test.truth(place), place)
    different = set(first_of.values())
    correct.sort(key=lambda place: place not in different)  # stable: the order of chance stays
    shown_right = correct[: count - min(len(wrong), count // 2)]
    chosen = shown_right + wrong[: count - len(shown_right)]
    if not chosen:
        return []
    try:
        localizers = run.localizers(list(pictures[0].maps), pictures=True)
    except InputError as error:
        again = command("project", run.folder, "--localizer", run.options.localizer)
        raise InputError(
            f"the pictures of the prototypes are by {', '.join(pictures[0].maps)}, of which one cannot be made from "
            f"its name ({error}); make them anew: {again}"
        ) from error
    explained = []
    for start in range(0, len(chosen), setup.batch_size):  # as many at once as the network has learned from
        part = chosen[start : start + setup.batch_size]
        explained += explain(
            run.network,
            collate([test[place] for place in part])["images"].to(setup.device),
            [test.names[place] for place in part],
            pictures,
            localizers,
            shown_as=photographs(test, part),
            true_classes=[test.truth(place) for place in part],
            progress=setup.progress,
        )
    return explained
