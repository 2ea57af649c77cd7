"""``protomask train``: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from protomask import distributed
from protomask.commands.evaluate import evaluate_run
from protomask.commands.project import write_pictures
from protomask.commands.report import report_run
from protomask.commands.setup import (
    OpenRun,
    choose_device,
    complete,
    localizers_for_pictures,
    open_data,
    say,
    training_set,
)
from protomask.errors import InputError
from protomask.networks import get_network, save_network
from protomask.options import Options
from protomask.run import Run, free_folder, versions
from protomask.training import Action, performance, train
from protomask.training.black_box import train_black_box
from protomask.training.board import Board

MEASURES = ("accuracy", "auroc", "average_precision")
"""what ``metrics.json`` holds of each stage; see :func:`protomask.training.performance`"""


def train_command(options: Options, output: str | None, resume: bool, progress: bool = True, tensorboard: bool = False) -> int:
    """The whole job. Returns the exit code. With ``tensorboard`` the log is written for it, too, into the run's ``tensorboard/``.

    Raises:
        InputError: bad options or data, a folder that holds another run.
    """
    run, options = _run_folder(options, output, resume)
    say(f"protomask: run folder {run.folder}")
    board = Board(run / "tensorboard") if tensorboard and distributed.is_first() else None
    localizers_for_pictures(options.localizer)
    options = complete(options)
    device = choose_device(options.device)
    splits = open_data(options)
    module = get_network(options.network)
    torch.manual_seed(options.seed)
    network = module.build(options, splits.train.classes, splits.train.multi_label)
    setup = training_set(options, splits, network, device, progress)
    test = splits.test.with_transform(setup.plain.transform)
    fingerprint = splits.train.fingerprint()
    _keep_config(run, options, splits, fingerprint, resume)

    stages = _with_test_accuracy(module.stages(network, options), test)

    def log(rows: list[dict]) -> None:
        run.write("log.jsonl", rows)
        if board is not None:
            board(rows)

    rows = train(network, stages, setup, checkpoint=run / "checkpoint" / "state.pt", log=log)
    if board is not None:
        board.close()
    save_network(network, options.network, run.folder)
    metrics = _metrics(rows)
    if options.black_box:
        # Built anew: the comparison starts from the same weights as the prototype network did.
        torch.manual_seed(options.seed)
        fresh = module.build(options, splits.train.classes, splits.train.multi_label).backbone
        black_box = train_black_box(fresh, len(network.classes), module.stages(network, options), setup, test,
                                    checkpoint=run / "checkpoint" / "black_box.pt")
        metrics |= {f"black_box_{name}": black_box[name] for name in MEASURES}
        metrics["seconds"]["black box"] = black_box["seconds"]
    run.write("metrics.json", metrics)
    for name in MEASURES[:2]:
        scores = {when: float("nan") if value is None else value for when, value in metrics[f"test_{name}"].items()}
        say(f"protomask: test {name.replace('auroc', 'AUROC')} {scores['before_projection']:.3f} before projection, "
            f"{scores['after_projection']:.3f} after, {scores['final']:.3f} with the last layer re-fitted")

    opened = OpenRun(run, options, network, splits, setup)
    for title, work in (("pictures", lambda: write_pictures(opened, options.localizer)),
                        ("evaluation", lambda: evaluate_run(opened, None, None, options.samples)),
                        ("report", lambda: report_run(opened))):
        begin = time.perf_counter()
        work()
        metrics["seconds"][title] = time.perf_counter() - begin
        run.write("metrics.json", metrics)
    return 0


def _run_folder(options: Options, output: str | None, resume: bool) -> tuple[Run, Options]:
    """The folder to work in, and the options: a resumed run's own."""
    if output is None:
        if resume:
            raise InputError("--resume needs the run's folder: --output RUN")
        return Run(free_folder(Path("runs"), f"{options.network}-{options.data}")), options
    run = Run(output)
    if run.folder.exists() and not run.folder.is_dir():
        raise InputError(f"--output {output} is a file; give a folder")
    if run.started:
        if not resume:
            raise InputError(f"{output} holds a run already; go on with it by --resume, or give another --output")
        config = run.read("config.json")
        if config.get("pruned"):
            raise InputError(f"{output} was made by protomask prune, so there is no training to resume; go on with the run that it came from")
        if config.get("imported"):
            raise InputError(f"{output} was made by protomask import-official, so there is no training to resume; start one with another --output")
        return run, run.options()
    if resume:
        raise InputError(f"{output} holds no run to resume (no config.json); leave --resume out to start one")
    return run, options


def _keep_config(run: Run, options: Options, splits, fingerprint: str, resume: bool) -> None:
    if resume:
        before = run.read("config.json")["data"]["fingerprint"]
        if before != fingerprint:
            raise InputError(f"the data changed since {run.folder} was started (fingerprint {fingerprint}, not {before}); "
                             "restore them, or start a new run with another --output")
        return
    data = {"fingerprint": fingerprint, "multi_label": splits.train.multi_label, "classes": len(splits.train.classes),
            "train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}
    run.write("config.json", {"options": options.to_mapping(), "versions": versions(), "data": data})


def _with_test_accuracy(stages: list, test) -> list:
    """Measures on the test images before and after the last projection and at the end; nothing is chosen by it."""
    def measure(name: str) -> Action:
        return Action(name, lambda network, setup: {
            key if key == "per_class" else f"test_{key}": value for key, value in performance(network, test, setup).items()})

    last = max(place for place, stage in enumerate(stages) if stage.name == "projection")
    return [*stages[:last], measure("test before projection"), stages[last], measure("test after projection"),
            *stages[last + 1:], measure("test at the end")]


def _metrics(rows: list[dict]) -> dict:
    measured = {row["stage"]: row for row in rows if "test_accuracy" in row}
    when = {"before_projection": "test before projection", "after_projection": "test after projection", "final": "test at the end"}
    scores = {f"test_{name}": {key: measured[stage][f"test_{name}"] for key, stage in when.items()} for name in MEASURES}
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    validation = [row["validation_accuracy"] for row in rows if "validation_accuracy" in row]
    return {**scores, "per_class": measured["test at the end"]["per_class"],
            "validation_accuracy": validation[-1] if validation else None,
            **{f"black_box_{name}": None for name in MEASURES}, "seconds": seconds}
