"""``protomask report``: one self-contained page of everything a run knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from protomask.data import collate
from protomask.evaluation import Evaluation
from protomask.explanations.files import read_nearest_maps, read_pictures
from protomask.explanations.predictions import as_pictures, explain
from protomask.explanations.records import Explanation
from protomask.labels import right_answers
from protomask.report.encoding import QUALITY, small
from protomask.run.setup import OpenRun, localizers_for_pictures, open_run, say
from protomask.training import predict

EXPLAINED = 8
"""test images that the report explains"""


def report_command(
    folder: str,
    quality: int,
    explained: int,
    figures: str | None,
    device: str | None,
    root: str | None,
    progress: bool = True,
) -> int:
    report_run(open_run(folder, device=device, root=root, progress=progress), quality, explained, figures)
    return 0


def report_run(opened: OpenRun, quality: int = QUALITY, explained: int = EXPLAINED, figures: str | None = None) -> None:
    """Writes ``report.html``; sections whose files are missing are left out.

    Args:
        quality: of the photographs, 1 to 100.
        explained: test images that it explains.
        figures: format in which its figures are written one by one, too; None does not.
    """
    from protomask.report import write_report

    run = opened.run
    pictures = read_pictures(run)
    evaluation = Evaluation.load(run / "evaluation.json") if run.has("evaluation.json") else None
    explanations = explain_test_images(opened, pictures, explained)
    path, log = run / "report.html", run.read("log.jsonl") or []
    write_report(
        path,
        config=run.read("config.json"),
        metrics=run.read("metrics.json") or {},
        log=log,
        pictures=pictures,
        explanations=explanations,
        evaluation=evaluation,
        test_images=small_test_images(opened, pictures),
        nearest_maps=read_nearest_maps(run),
        quality=quality,
    )
    say(f"protomask: report {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if figures:
        written = write_figures(run / "figures", figures, pictures, explanations, evaluation, log)
        say(f"protomask: {len(written)} figures in {run / 'figures'}")


def write_figures(
    folder: Path,
    kind: str,
    pictures: list,
    explanations: list[Explanation],
    evaluation: Evaluation | None,
    log: list[dict],
) -> list[Path]:
    """The report's figures one by one, for a paper or a talk; ``kind`` is the format (pdf and svg keep lines as
    vectors).

    ``panel_1``, ...: the explained images; ``localizers``: their strongest prototype by every localizer; ``official``:
    ten prototypes beside the official ProtoPNet's picture of them; ``curves`` and ``training`` where there are any.
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
            rows, levels=pictures[0].record.levels, title="The strongest prototype of each image, by every localizer"
        )
    if first != "similarity":
        figures["official"] = beside_official(pictures[:: max(1, len(pictures) // 10)][:10], first)
    if evaluation is not None and evaluation.curves:
        figures["curves"] = curves(evaluation.curves)
    if any("loss" in row or "train_accuracy" in row for row in log):
        figures["training"] = training_curves(log)
    return [save_figure(figure, folder / f"{name}.{kind}") for name, figure in figures.items()]


def small_test_images(opened: OpenRun, pictures: list) -> dict[int, np.ndarray]:
    """The prototypes' nearest test images, by position in the test images."""
    inspections = [picture.inspection for picture in pictures if picture.inspection is not None]
    positions = sorted({near.position for each in inspections for near in each.nearest})
    found = {}
    for batch in opened.setup.loader(opened.test.subset(positions)) if positions else ():
        for position, image in zip(batch["positions"].tolist(), as_pictures(batch["images"], opened.network)):
            found[positions[position]] = small(image)
    return found


def explain_test_images(opened: OpenRun, pictures: list, count: int = EXPLAINED) -> list[Explanation]:
    """Test images chosen by the run's seed alone: wrong ones first to half the number, then right ones of different
    classes."""
    if count < 1:
        return []
    test, setup = opened.test, opened.setup
    logits, labels = predict(opened.network, test, setup, "test images")
    right = right_answers(logits, labels) == 1
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(opened.options.seed)).tolist()
    wrong = [place for place in order if not right[place]][: count // 2]
    seen, correct = set(), []
    for place in order:
        if right[place] and test.truth(place) not in seen:
            seen.add(test.truth(place))
            correct.append(place)
    chosen = correct[: count - len(wrong)] + wrong
    if not chosen:
        return []
    localizers = localizers_for_pictures(",".join(pictures[0].maps))
    images = collate([test[place] for place in chosen])["images"].to(setup.device)
    return explain(
        opened.network,
        images,
        [test.names[place] for place in chosen],
        pictures,
        localizers,
        true_classes=[test.truth(place) for place in chosen],
        progress=setup.progress,
    )
