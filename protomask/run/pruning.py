"""``protomask prune``: a run without some of its prototypes, and what that cost in accuracy."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from protomask.errors import InputError
from protomask.explanations.files import read_pictures
from protomask.explanations.inspection import FLAGS
from protomask.explanations.records import Inspection, PrototypePicture
from protomask.labels import right_answers
from protomask.networks import get_network, save_network
from protomask.run.page import report_run
from protomask.run.pictures import save_inspected
from protomask.run.setup import OpenRun, open_run, say
from protomask.run_folder import RunFolder, new_run, versions
from protomask.training import Action, Epochs, performance, predict, train


def prune_command(
    folder: str,
    prototypes: str | None,
    flagged: str | None,
    output: str | None,
    device: str | None,
    root: str | None,
    progress: bool = True,
) -> int:
    """Writes a new run; the one in ``folder`` stays as it is.

    Args:
        prototypes: numbers separated by commas. Without them the flagged ones.
        flagged: of ``FLAGS``, separated by commas; by default all of them.
        output: the new run's folder; by default one beside ``folder``.
    """
    if prototypes is not None and flagged is not None:
        raise InputError("--prototypes and --flagged exclude each other; choose one")
    opened = open_run(folder, device=device, root=root, progress=progress)
    with new_run(output, Path(folder).parent, f"{Path(folder).resolve().name}-pruned") as new:
        return _prune(opened, new, prototypes, flagged)


def _prune(opened: OpenRun, new: RunFolder, prototypes: str | None, flagged: str | None) -> int:
    begin, folder, target = time.perf_counter(), opened.run.folder, new.folder
    pictures = read_pictures(opened.run)
    removed = _numbers(prototypes) if prototypes is not None else _flagged(pictures, flagged, opened.run)
    if not removed:
        say("protomask: no prototype is flagged; nothing to remove, nothing written")
        return 0
    removed = sorted(set(removed))
    count = opened.network.prototype_count
    unknown = [number for number in removed if not 0 <= number < count]
    if unknown:
        raise InputError(f"--prototypes: there is no prototype {unknown[0]}; they are numbered 0 to {count - 1}")
    kept = opened.network.checked_selection([number for number in range(count) if number not in removed]).tolist()

    logits, labels = predict(opened.network, opened.test, opened.setup, "test before")
    before = right(logits, labels)
    opened.network.keep(kept)
    without = right(*predict(opened.network, opened.test, opened.setup, "test without"))
    module = get_network(opened.options.network)
    rows = train(opened.network, after_projection(module.stages(opened.network, opened.options)), opened.setup)
    after = right(*predict(opened.network, opened.test, opened.setup, "test after"))

    pruned = replace(opened, run=new)
    outcome = {
        "from": str(folder),
        "prototypes": count,
        "removed": removed,
        "test_accuracy": {"before": _mean(before), "without_refitting": _mean(without), "after": _mean(after)},
        "right_to_wrong": int((before & ~after).sum()),
        "wrong_to_right": int((~before & after).sum()),
    }
    _write(opened, pruned, outcome, rows, performance(opened.network, opened.test, opened.setup, "test measures"))
    save_inspected(pruned, select(pictures, kept, pruned))
    report_run(pruned)
    metrics = pruned.run.read("metrics.json")
    metrics["seconds"]["pruning"] = time.perf_counter() - begin
    pruned.run.write("metrics.json", metrics)
    say(f"protomask: {in_words(outcome)}")
    say(f"protomask: the pruned run is in {target}; {folder} is as it was")
    return 0


def right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(N,) bool; with several findings per image, whether all of them are."""
    return right_answers(logits, labels) == 1


def after_projection(stages: list[Epochs | Action]) -> list[Epochs | Action]:
    """What a recipe does after its last projection: the last layer anew."""
    last = max((place for place, stage in enumerate(stages) if stage.name == "projection"), default=-1)
    return stages[last + 1 :]


def select(pictures: list[PrototypePicture], kept: list[int], opened: OpenRun) -> list[PrototypePicture]:
    """The pictures of the kept prototypes under their new numbers, with the weights of the new last layer."""
    weights = opened.network.last_layer.weight.detach().cpu()
    classes = opened.network.prototype_classes.tolist()
    return [
        replace(
            pictures[old],
            inspection=None,
            record=replace(pictures[old].record, prototype=new, weight=weights[classes[new], new].item()),
        )
        for new, old in enumerate(kept)
    ]


def in_words(outcome: dict) -> str:
    scores = outcome["test_accuracy"]
    return (
        f"removed {len(outcome['removed'])} of {outcome['prototypes']} prototypes; test accuracy {scores['before']:.3f} before, "
        f"{scores['without_refitting']:.3f} without them, {scores['after']:.3f} with the last layer re-fitted "
        f"({outcome['right_to_wrong']} images became wrong, {outcome['wrong_to_right']} right)"
    )


def _write(opened: OpenRun, pruned: OpenRun, outcome: dict, rows: list[dict], measured: dict) -> None:
    config = opened.run.read("config.json")
    metrics = opened.run.read("metrics.json") or {}
    scores = {
        f"test_{name}": {**(metrics.get(f"test_{name}") or {}), "final": value}
        for name, value in measured.items()
        if name != "per_class"
    }
    save_network(pruned.network, pruned.options.network, pruned.run.folder)
    pruned.run.write(
        "metrics.json",
        {
            **metrics,
            **scores,
            "per_class": measured["per_class"],
            "pruned": outcome,
            "seconds": metrics.get("seconds", {}),
        },
    )
    pruned.run.write(
        "log.jsonl",
        (opened.run.read("log.jsonl") or []) + [{**row, "stage": f"{row['stage']}, pruned"} for row in rows],
    )
    pruned.run.write(
        "config.json", {**config, "versions": versions(), "pruned": {key: outcome[key] for key in ("from", "removed")}}
    )


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",") if word.strip()] or _fail(words)
    except ValueError:
        return _fail(words)


def _fail(words: str) -> list[int]:
    raise InputError(f"--prototypes is {words!r}; give numbers of prototypes separated by commas, for example 3,7")


def _flagged(pictures: list[PrototypePicture], words: str | None, run: RunFolder) -> list[int]:
    """Numbers of the flagged prototypes; of a class whose prototypes are all flagged the best one stays."""
    chosen = FLAGS if words is None else tuple(word.strip() for word in words.split(",") if word.strip())
    unknown = [word for word in chosen if word not in FLAGS]
    if unknown or not chosen:
        raise InputError(f"--flagged is {words!r}; choose from {', '.join(FLAGS)}")
    if any(picture.inspection is None for picture in pictures):
        raise InputError(
            f"{run.folder} has no inspection.json, so nothing is flagged yet; make it with: protomask project {run.folder}"
        )
    numbers = [picture.record.prototype for picture in pictures if set(picture.inspection.flags) & set(chosen)]
    for name in dict.fromkeys(picture.record.class_name for picture in pictures):
        members = [picture for picture in pictures if picture.record.class_name == name]
        if all(picture.record.prototype in numbers for picture in members):
            best = min(members, key=lambda picture: _share_outside(picture.inspection))
            numbers.remove(best.record.prototype)
            say(
                f"protomask: every prototype of class {name} is flagged; {best.record.prototype}, the one most on the object, stays"
            )
    return numbers


def _share_outside(inspection: Inspection) -> float:
    return next(iter(inspection.outside.values()), 0.0)


def _mean(right: torch.Tensor) -> float:
    return right.double().mean().item()
