"""The whole job: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.data.unreadable import require_readable
from protomask.errors import InputError
from protomask.files import file_name
from protomask.given import as_flag, as_path
from protomask.gradients import with_gradients
from protomask.networks import save_network
from protomask.options import Options
from protomask.precision import float32_by_default
from protomask.run.evaluation import evaluate_run
from protomask.run.frozen import on_stored_features
from protomask.run.measures import MEASURES, changes, training_metrics, with_test_accuracy
from protomask.run.opened import Run
from protomask.run.page import report_run
from protomask.run.pictures import write_pictures
from protomask.run.resuming import (
    BLACK_BOX,
    CHECKPOINT,
    Standing,
    build,
    has_checkpoint,
    is_another,
    network_to_go_on_with,
    put_aside,
    require_weights_of_black_box,
    standing,
)
from protomask.run.setup import (
    IN_MEMORY,
    check_fit,
    choose_device,
    complete,
    open_data,
    pictures_localizers,
    plan_of,
    reopen_data_of,
    say,
)
from protomask.run.start import absolute_paths, keep_config, named_options, starting_folder
from protomask.run.trial import try_batch, try_channels, try_layers
from protomask.run_folder import RUNS, RunFolder, free_folder, remove_unused
from protomask.training import TrainingSet
from protomask.training import train as run_stages
from protomask.training.black_box import train_black_box
from protomask.training.loggers import FILE as LOGGERS
from protomask.training.loggers import Loggers, logger_names

PARTS = {"pictures": "prototypes.json", "evaluation": "evaluation.json", "report": "report.html"}
"""What follows the training, and the file that each part writes last"""


def train(
    network: str = "protopnet",
    data: Any = "parts",
    *,
    classes: Sequence[str] | None = None,
    output: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
    log: str | Sequence[str] | None = None,
    **options,
) -> Run:
    """Train a prototype network, project, localise, evaluate and report: the whole job, as ``protomask train``.

    >>> run = protomask.train(epochs=2, samples=8)                                            # doctest: +SKIP
    >>> run = protomask.train("xprotonet", data=(train_set, test_set), output="runs/mine")    # doctest: +SKIP

    Args:
        network: kind of network, see :func:`protomask.networks.network_names`.
        data: name of a data set (its folder by ``root=``); or torch Datasets (train, test) or (train, test,
            validation) of (image, label), or one to take the test images from, as
            :func:`protomask.data.from_datasets` says; or :class:`protomask.data.Splits`.
        classes: names, for Datasets that do not know them.
        output: the run's folder; by default a new one under ``runs/``.
        resume: go on with the run in ``output``, or do what is left of it.
        progress: show progress bars.
        log: also log for ``"tensorboard"`` (into the run's ``tensorboard/``), ``"wandb"`` or ``"mlflow"``, by their own
            packages; several as a list, or separated by commas. A resumed run goes on with the records that it has.
        options: those of :class:`protomask.options.Options`: ``epochs=8``, ``backbone="resnet34"``,
            ``pretrained=True``, ``localizer="mdm"``, ...

    Raises:
        InputError: bad options or data, a folder that holds another run or at which another process works.
    """
    chosen, datasets = asked_for(network, data, classes, options)
    return train_run(
        chosen,
        output,
        said=options,
        resume=resume,
        data=datasets,
        classes=classes,
        progress=progress,
        log=log,
    )


def asked_for(network: str, data: Any, classes: Sequence[str] | None, options: dict) -> tuple[Options, Any]:
    """Turn the arguments of :func:`train` into options, and the Datasets that were given instead of a name (or None).

    Raises:
        InputError: as :func:`train`.
    """
    if data is None:
        raise InputError("data is None; give the name of a data set, or Datasets: data=(train, test)")
    named = isinstance(data, str)
    if named and classes is not None:
        raise InputError(f"classes are those of Datasets; the data set {data!r} knows its own: leave out classes=")
    chosen = named_options(network=network, data=data if named else IN_MEMORY, **options)
    return chosen, None if named else data


@with_gradients
@float32_by_default()
def train_run(
    options: Options,
    output: str | os.PathLike | None = None,
    *,
    said: Collection[str] = (),
    resume: bool = False,
    data: Any = None,
    classes: Sequence[str] | None = None,
    progress: bool = True,
    log: str | Sequence[str] | None = None,
    beside: RunFolder | None = None,
) -> Run:
    """Do the whole job, or what is left of it, from :class:`protomask.options.Options`; see :func:`train`.

    Started by ``torchrun``, all processes train and evaluate; the first one writes.

    Args:
        said: the options that were given: a run that is resumed refuses another value of these even where it is the
            default.
        beside: a run of another seed that was begun; this one takes its data as that one did.
    """
    resume, progress = as_flag(resume, "resume"), as_flag(progress, "progress")
    given_root, logs = options.root, logger_names(log)
    files, asked = starting_folder(
        absolute_paths(options), None if output is None else str(as_path(output, "output")), resume, said
    )
    localizers = pictures_localizers(asked.localizer)
    options = complete(asked)
    with distributed.job(choose_device(options.device)) as device, ExitStack() as stack:
        name = file_name(f"{options.network}-{options.data}")
        if files is None:
            free = distributed.only_first(lambda: free_folder(RUNS, name))
            if free:
                stack.callback(remove_unused, free)
            files = RunFolder(distributed.from_first(str(free)))
        say(f"run folder {files.folder}")
        begun = files if resume else beside
        if begun is not None:
            known = begun.read("config.json").get("data", {})
            splits = reopen_data_of(known, options, data, classes, together=True)
        else:
            splits = open_data(options, data, classes)
        say(f"data: {splits.text()}")
        for remark in splits.remarks():
            say(remark)
        found = distributed.from_first(standing(files) if resume else Standing.NEW)
        network = network_to_go_on_with(files, found, options, splits)
        if found is Standing.BEGUN and options.black_box:
            require_weights_of_black_box(files, options)
        check_fit(network, options, splits.train)
        try_channels(network, device)
        try_batch(network, min(options.batch_size, len(splits.train)) // distributed.size(), device)
        try_layers(network.to(device), localizers, device)
        # Rather than after all epochs, when the test images are first read; last, as it takes longest.
        if found is not Standing.TRAINED:
            distributed.only_first(lambda: require_readable(splits, progress=progress))
        run = Run(files, options, network, device, splits, progress=progress)
        with files.lock(new=True):
            distributed.only_first(lambda: keep_config(run, resume, given_root, beside=beside))
            if resume and found is Standing.NEW:
                distributed.only_first(lambda: put_aside(files))
            with _loggers(run, logs, resume) as loggers:
                metrics = _train(run, loggers, found)
            _finish(run, metrics)
    return run


def _loggers(run: Run, names: Sequence[str], resume: bool) -> AbstractContextManager[Loggers | None]:
    """Open the records that are asked for, and those of a run that is resumed; the first process alone has any."""
    if not distributed.is_first():
        return nullcontext()
    return Loggers(run.folder, names, run.options.to_mapping(), run.files.read(LOGGERS) if resume else None)


def _train(run: Run, loggers: Loggers | None, found: Standing) -> dict:
    """Trains the network, and the plain classifier if asked for. Returns the metrics."""
    files, options, network = run.files, run.options, run.network
    checkpoint = files / CHECKPOINT
    earlier = distributed.from_first(run.metrics)

    def log(rows: list[dict]) -> None:
        files.write("log.jsonl", rows)
        say(epoch_line(rows[-1], network.multi_label))
        if loggers is not None:
            loggers(rows)

    if found is Standing.TRAINED and earlier:
        metrics = earlier
    else:
        # Of a training that is done, only what was measured is read again.
        learns = found is not Standing.TRAINED or options.black_box
        stored = options.recipe == "frozen" and not earlier and learns
        with on_stored_features(run, checkpoint) if stored else nullcontext((run.setup, run.test)) as (setup, test):
            if found is Standing.TRAINED:
                rows = files.read("log.jsonl")
            else:
                rows = run_stages(
                    network,
                    with_test_accuracy(plan_of(network, options), test),
                    setup,
                    checkpoint=checkpoint,
                    log=log,
                    minutes=options.checkpoint_minutes,
                )
                if found is Standing.BEGUN and distributed.only_first(lambda: is_another(files, network)):
                    put_aside(files, but="log.jsonl")
                    earlier = {}
                earlier = distributed.from_first(earlier)
                distributed.only_first(lambda: save_network(network, options.network, files.folder))
            kept = earlier.get("black_box_accuracy") is not None and not has_checkpoint(files / BLACK_BOX)
            metrics = earlier if distributed.from_first(kept) else training_metrics(rows)
            if options.black_box and metrics is not earlier:
                metrics = _with_black_box(metrics, rows, run, setup, test, stored)
    if metrics.get("validation_accuracy") is None:  # the log of a run of before does not know it
        metrics["validation_accuracy"] = earlier.get("validation_accuracy")
    before = earlier.get("seconds", {})
    metrics["seconds"] = {title: seconds for title, seconds in metrics["seconds"].items() if title not in PARTS}
    metrics["seconds"].update(
        {title: before[title] for title, file in PARTS.items() if title in before and files.is_whole(file)}
    )
    reasoning = metrics.pop("reasoning", earlier.get("reasoning"))
    if "pictures" in metrics["seconds"] and reasoning is not None:
        metrics["reasoning"] = reasoning
    distributed.only_first(lambda: files.write("metrics.json", metrics))
    right = "right answers over all findings of the test images" if network.multi_label else "test accuracy"
    for name, words in zip(MEASURES[:2], (right, "test AUROC")):
        if line := score_line(words, metrics[f"test_{name}"]):
            say(line)
    return metrics


def score_line(words: str, scores: Mapping[str, float | None]) -> str:
    """Say what was measured at three times in one line; nothing where it cannot be told, as the AUROC of one class.

    >>> score_line("test AUROC", {"before_projection": 0.9, "after_projection": 0.8, "final": 0.85})
    'test AUROC 0.900 before projection, 0.800 after, 0.850 with the last layer re-fitted'
    >>> score_line("test AUROC", {"before_projection": None, "after_projection": None, "final": None})
    ''
    """
    if all(value is None for value in scores.values()):
        return ""
    known = {when: float("nan") if value is None else value for when, value in scores.items()}
    return (
        f"{words} {known['before_projection']:.3f} before projection, "
        f"{known['after_projection']:.3f} after, {known['final']:.3f} with the last layer re-fitted"
    )


def _with_black_box(
    metrics: dict,
    rows: list[dict],
    run: Run,
    setup: TrainingSet,
    test: AnnotatedImages,
    stored: bool,
) -> dict:
    """Add what the same backbone reaches as a plain classifier; it starts from the weights of the prototype network."""
    files, options, network = run.files, run.options, run.network
    begun = has_checkpoint(files / BLACK_BOX)
    fresh: Any = network if stored else build(files, options, run.splits, begun=distributed.from_first(begun))
    black_box = train_black_box(
        fresh.backbone,
        len(network.classes),
        plan_of(network, options),
        setup,
        test,
        checkpoint=files / BLACK_BOX,
        minutes=options.checkpoint_minutes,
    )
    metrics = {**metrics, **{f"black_box_{name}": black_box[name] for name in MEASURES}}
    metrics["seconds"]["black box"] = black_box["seconds"]
    final = next((row.get("test_right") for row in reversed(rows) if "test_accuracy" in row), None)
    if final and black_box.get("right"):
        metrics["changes"] = {
            **metrics.get("changes", {}),
            **changes({"black_box": black_box["right"], "final": final}),
        }
    return metrics


def epoch_line(row: Mapping[str, Any], findings: bool = False) -> str:
    """Say an epoch, or another step of the training, in one line; of ``findings`` right answers are told, over all.

    >>> row = {"stage": "joint", "epoch": 2, "loss": 0.51234, "validation_accuracy": 0.9, "seen": 160, "seconds": 3.2}
    >>> epoch_line(row)
    'joint, epoch 2: loss 0.512, validation accuracy 0.900 (3.2 s, 50 images/s)'
    """
    right = "right answers over all findings" if findings else "accuracy"
    told = [
        f"{name.replace('accuracy', right).replace('_', ' ')} {row[name]:.3f}"
        for name in ("loss", "train_accuracy", "validation_accuracy", "test_accuracy")
        if isinstance(row.get(name), int | float)
    ]
    name = f"{row['stage']}, epoch {row['epoch']}" if "epoch" in row else row["stage"]
    seconds = row["seconds"]
    speed = f", {row['seen'] / seconds:.3g} images/s" if row.get("seen") and seconds else ""
    return f"{name}{': ' if told else ''}{', '.join(told)} ({seconds:.1f} s{speed})"


def _finish(run: Run, metrics: dict) -> None:
    """Pictures, evaluation and report; those that are done already stay."""
    work: dict[str, Callable[[Run], object]] = {
        "pictures": write_pictures,
        "evaluation": evaluate_run,
        "report": report_run,
    }
    for title in PARTS:
        if title in metrics["seconds"]:
            continue
        begin = time.perf_counter()
        work[title](run)
        metrics["seconds"][title] = time.perf_counter() - begin
        # The pictures have added to the file.
        distributed.only_first(
            lambda: run.files.write("metrics.json", {**run.files.read("metrics.json"), "seconds": metrics["seconds"]})
        )
