"""``protomask report``: one self-contained page of everything a run knows."""

from __future__ import annotations

import numpy as np
import torch

from protomask.commands.setup import OpenRun, localizers_for_pictures, open_run, say
from protomask.data import collate
from protomask.evaluation import Evaluation
from protomask.explaining import as_pictures, explain
from protomask.explanation import Explanation
from protomask.labels import right_answers
from protomask.picture_files import read_nearest_maps, read_pictures
from protomask.report.encoding import QUALITY, small
from protomask.training import predict

EXPLAINED = 8
"""test images that the report explains"""


def report_command(folder: str, quality: int, explained: int, device: str | None, root: str | None, progress: bool = True) -> int:
    report_run(open_run(folder, device=device, root=root, progress=progress), quality, explained)
    return 0


def report_run(opened: OpenRun, quality: int = QUALITY, explained: int = EXPLAINED) -> None:
    """Writes ``report.html``; sections whose files are missing are left out.

    Args:
        quality: of the photographs, 1 to 100.
        explained: test images that it explains.
    """
    from protomask.report import write_report

    run = opened.run
    pictures = read_pictures(run)
    evaluation = Evaluation.load(run / "evaluation.json") if (run / "evaluation.json").is_file() else None
    path = run / "report.html"
    write_report(path, config=run.read("config.json"), metrics=run.read("metrics.json") or {}, log=run.read("log.jsonl") or [],
                 pictures=pictures, explanations=explain_test_images(opened, pictures, explained), evaluation=evaluation,
                 test_images=small_test_images(opened, pictures), nearest_maps=read_nearest_maps(run), quality=quality)
    say(f"protomask: report {path} ({path.stat().st_size / 1e6:.1f} MB)")


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
    """Test images chosen by the run's seed alone: wrong ones first to half the number, then right ones of different classes."""
    if count < 1:
        return []
    test, setup = opened.test, opened.setup
    logits, labels = predict(opened.network, test, setup, "test images")
    right = right_answers(logits, labels) == 1
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(opened.options.seed)).tolist()
    wrong = [place for place in order if not right[place]][:count // 2]
    seen, correct = set(), []
    for place in order:
        if right[place] and test.truth(place) not in seen:
            seen.add(test.truth(place))
            correct.append(place)
    chosen = correct[:count - len(wrong)] + wrong
    if not chosen:
        return []
    localizers = localizers_for_pictures(",".join(pictures[0].maps))
    images = collate([test[place] for place in chosen])["images"].to(setup.device)
    return explain(opened.network, images, [test.names[place] for place in chosen], pictures, localizers,
                   true_classes=[test.truth(place) for place in chosen], progress=setup.progress)
