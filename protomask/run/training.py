"""``protomask train``: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import torch

from protomask import distributed
from protomask.errors import InputError
from protomask.files import file_name
from protomask.networks import get_network, save_network
from protomask.options import Options
from protomask.run.evaluation import evaluate_run
from protomask.run.page import report_run
from protomask.run.pictures import write_pictures
from protomask.run.setup import (
    OpenRun,
    choose_device,
    complete,
    localizers_for_pictures,
    open_data,
    say,
    training_set,
)
from protomask.run_folder import RunFolder, free_folder, remove_unused, versions
from protomask.training import Action, performance, train
from protomask.training.black_box import train_black_box
from protomask.training.board import Board

MEASURES = ("accuracy", "auroc", "average_precision")
"""what ``metrics.json`` holds of each stage; see :func:`protomask.training.performance`"""
PARTS = {"pictures": "prototypes.json", "evaluation": "evaluation.json", "report": "report.html"}
"""What follows the training, and the file that each part writes last"""
MACHINE = ("root", "device", "workers", "checkpoint_minutes")
"""Options that may change when a run is resumed"""


def train_command(
    options: Options, output: str | None, resume: bool, progress: bool = True, tensorboard: bool = False
) -> int:
    """The whole job, or what is left of it. Returns the exit code.

    Started by ``torchrun``, all processes train and evaluate; the first one writes. With ``tensorboard`` the log is
    written for it, too, into the run's ``tensorboard/``.

    Raises:
        InputError: bad options or data, a folder that holds another run or at which another process works.
    """
    run, options = _run_folder(options, output, resume)
    localizers_for_pictures(options.localizer)
    options = complete(options)
    with distributed.job(choose_device(options.device)) as device, ExitStack() as stack:
        free = None if run is not None else distributed.only_first(lambda: free_folder(Path("runs"), _name(options)))
        run = run or RunFolder(distributed.from_first(free))
        if free:
            stack.callback(remove_unused, free)
        say(f"protomask: run folder {run.folder}")
        splits = open_data(options)
        module = get_network(options.network)
        torch.manual_seed(options.seed)
        network = module.build(options, splits.train.classes, splits.train.multi_label)
        setup = training_set(options, splits, network, device, progress)
        opened = OpenRun(run, options, network, splits, setup)
        with run.lock():
            board = Board(run / "tensorboard") if tensorboard and distributed.is_first() else None
            distributed.only_first(lambda: _keep_config(opened, resume))
            _finish(opened, _train(opened, module, board))
    return 0


def _train(opened: OpenRun, module: ModuleType, board: Board | None) -> dict:
    """Trains the network, and the plain classifier if asked for. Returns the metrics."""
    run, options, network, setup = opened.run, opened.options, opened.network, opened.setup
    before = (run.read("metrics.json") or {}).get("seconds", {})
    stages = _with_test_accuracy(module.stages(network, options), opened.test)

    def log(rows: list[dict]) -> None:
        run.write("log.jsonl", rows)
        if board is not None:
            board(rows)

    rows = train(
        network, stages, setup, checkpoint=run / "checkpoint" / "state.pt", log=log, minutes=options.checkpoint_minutes
    )
    if board is not None:
        board.close()
    distributed.only_first(lambda: save_network(network, options.network, run.folder))
    metrics = _metrics(rows)
    if options.black_box:
        # Built anew: the comparison starts from the same weights as the prototype network did.
        torch.manual_seed(options.seed)
        fresh = module.build(options, network.classes, opened.splits.train.multi_label).backbone
        black_box = train_black_box(
            fresh,
            len(network.classes),
            module.stages(network, options),
            setup,
            opened.test,
            checkpoint=run / "checkpoint" / "black_box.pt",
            minutes=options.checkpoint_minutes,
        )
        metrics |= {f"black_box_{name}": black_box[name] for name in MEASURES}
        metrics["seconds"]["black box"] = black_box["seconds"]
    metrics["seconds"].update(
        {title: before[title] for title, file in PARTS.items() if title in before and (run / file).is_file()}
    )
    distributed.only_first(lambda: run.write("metrics.json", metrics))
    for name in MEASURES[:2]:
        scores = {when: float("nan") if value is None else value for when, value in metrics[f"test_{name}"].items()}
        say(
            f"protomask: test {name.replace('auroc', 'AUROC')} {scores['before_projection']:.3f} before projection, "
            f"{scores['after_projection']:.3f} after, {scores['final']:.3f} with the last layer re-fitted"
        )
    return metrics


def _finish(opened: OpenRun, metrics: dict) -> None:
    """Pictures, evaluation and report; those that are done already stay."""
    # The evaluation shares its work among the processes itself; during the other two they wait for the first.
    work = {
        "pictures": lambda: distributed.only_first(lambda: write_pictures(opened, opened.options.localizer)),
        "evaluation": lambda: evaluate_run(opened, None, None, opened.options.samples),
        "report": lambda: distributed.only_first(lambda: report_run(opened)),
    }
    for title in PARTS:
        if title in metrics["seconds"]:
            continue
        begin = time.perf_counter()
        work[title]()
        metrics["seconds"][title] = time.perf_counter() - begin
        distributed.only_first(lambda: opened.run.write("metrics.json", metrics))


def _name(options: Options) -> str:
    return file_name(f"{options.network}-{options.data}")


def _run_folder(options: Options, output: str | None, resume: bool) -> tuple[RunFolder | None, Options]:
    """The folder to work in (None: a free one), and the options: a resumed run's own."""
    if output is None:
        if resume:
            raise InputError("--resume needs the run's folder: --output RUN")
        return None, options
    run = RunFolder(output)
    if run.folder.exists() and not run.folder.is_dir():
        raise InputError(f"--output {output} is a file; give a folder")
    if run.started:
        if not resume:
            raise InputError(f"{output} holds a run already; go on with it by --resume, or give another --output")
        config = run.read("config.json")
        if config.get("pruned"):
            raise InputError(
                f"{output} was made by protomask prune, so there is no training to resume; go on with the run that it came from"
            )
        if config.get("imported"):
            raise InputError(
                f"{output} was made by protomask import-official, so there is no training to resume; start one with another --output"
            )
        return run, _resumed(run.options(), options, output)
    if resume:
        raise InputError(f"{output} holds no run to resume (no config.json); leave --resume out to start one")
    return run, options


def _resumed(own: Options, given: Options, output: str) -> Options:
    """The run's own options, with what another machine needs differently.

    Raises:
        InputError: an option was given that would make another run of it.
    """
    default, changes = Options(), {}
    for field in dataclasses.fields(Options):
        value = getattr(given, field.name)
        if value == getattr(default, field.name) or value == getattr(own, field.name):
            continue
        if field.name not in MACHINE:
            raise InputError(
                f"{output} was started with {getattr(own, field.name)!r} for --{field.name.replace('_', '-')}, not {value!r}; "
                "leave the option out to resume it, or start another run with another --output"
            )
        changes[field.name] = value
    return own.replace(**changes)


def _keep_config(opened: OpenRun, resume: bool) -> None:
    run, splits = opened.run, opened.splits
    fingerprint = splits.train.fingerprint()
    if resume:
        before = run.read("config.json").get("data", {}).get("fingerprint")
        if before != fingerprint:
            raise InputError(
                f"the data changed since {run.folder} was started (fingerprint {fingerprint}, not {before}); "
                "restore them, or start a new run with another --output"
            )
        return
    if run.started:  # by another process, meanwhile
        raise InputError(f"{run.folder} holds a run already; give another --output")
    data = {
        "fingerprint": fingerprint,
        "multi_label": splits.train.multi_label,
        "classes": len(splits.train.classes),
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    run.write("config.json", {"options": opened.options.to_mapping(), "versions": versions(), "data": data})


def _with_test_accuracy(stages: list, test) -> list:
    """Measures on the test images before and after the last projection and at the end; nothing is chosen by it."""

    def measure(name: str) -> Action:
        return Action(
            name,
            lambda network, setup: {
                key if key == "per_class" else f"test_{key}": value
                for key, value in performance(network, test, setup).items()
            },
        )

    last = max(place for place, stage in enumerate(stages) if stage.name == "projection")
    return [
        *stages[:last],
        measure("test before projection"),
        stages[last],
        measure("test after projection"),
        *stages[last + 1 :],
        measure("test at the end"),
    ]


def _metrics(rows: list[dict]) -> dict:
    measured = {row["stage"]: row for row in rows if "test_accuracy" in row}
    when = {
        "before_projection": "test before projection",
        "after_projection": "test after projection",
        "final": "test at the end",
    }
    scores = {
        f"test_{name}": {key: measured[stage][f"test_{name}"] for key, stage in when.items()} for name in MEASURES
    }
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    validation = [row["validation_accuracy"] for row in rows if "validation_accuracy" in row]
    return {
        **scores,
        "per_class": measured["test at the end"]["per_class"],
        "validation_accuracy": validation[-1] if validation else None,
        **{f"black_box_{name}": None for name in MEASURES},
        "seconds": seconds,
    }
