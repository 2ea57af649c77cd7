"""``protomask report``: one self-contained page of everything a run knows."""

from __future__ import annotations

import torch

from protomask.picture_files import read_pictures
from protomask.commands.setup import OpenRun, localizers_for_pictures, open_run, say
from protomask.data import collate
from protomask.evaluation import Evaluation
from protomask.explaining import explain
from protomask.explanation import Explanation
from protomask.training import predict

EXPLAINED = 8
"""test images that the report explains"""


def report_command(folder: str, device: str | None, root: str | None, progress: bool = True) -> int:
    report_run(open_run(folder, device=device, root=root, progress=progress))
    return 0


def report_run(opened: OpenRun) -> None:
    """Writes ``report.html``; sections whose files are missing are left out."""
    from protomask.report.html import write_report

    run = opened.run
    pictures = read_pictures(run)
    evaluation = Evaluation.load(run / "evaluation.json") if (run / "evaluation.json").is_file() else None
    path = run / "report.html"
    write_report(path, config=run.read("config.json"), metrics=run.read("metrics.json") or {}, log=run.read("log.jsonl") or [],
                 pictures=pictures, explanations=explain_test_images(opened, pictures), evaluation=evaluation)
    say(f"protomask: report {path}")


def explain_test_images(opened: OpenRun, pictures: list, count: int = EXPLAINED) -> list[Explanation]:
    """Test images chosen by the run's seed alone: wrong ones first to half the number, then right ones of different classes."""
    test, setup = opened.test, opened.setup
    logits, labels = predict(opened.network, test, setup, "test images")
    right = logits.argmax(1) == labels
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(opened.options.seed)).tolist()
    wrong = [place for place in order if not right[place]][:count // 2]
    seen, correct = set(), []
    for place in order:
        if right[place] and int(labels[place]) not in seen:
            seen.add(int(labels[place]))
            correct.append(place)
    chosen = correct[:count - len(wrong)] + wrong
    if not chosen:
        return []
    localizers = localizers_for_pictures(",".join(pictures[0].maps))
    images = collate([test[place] for place in chosen])["images"].to(setup.device)
    return explain(opened.network, images, [test.names[place] for place in chosen], pictures, localizers,
                   true_classes=[test.classes[int(labels[place])] for place in chosen], progress=setup.progress)
