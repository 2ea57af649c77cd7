"""The same training from several seeds: one run each, and one table of means and ranges."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protomask import distributed
from protomask.errors import InputError
from protomask.given import as_count, as_flag, as_path, short
from protomask.json_files import write_json
from protomask.options import CompleteOptions, Options
from protomask.run.opened import Run
from protomask.run.setup import say
from protomask.run.start import absolute_paths, require_same_training, resumed_options, runs_of_seeds
from protomask.run.training import asked_for, train_run
from protomask.run.weights_file import require_same_weights
from protomask.run_folder import RunFolder
from protomask.training.loggers import FILE as LOGGERS
from protomask.training.loggers import logger_names

FILE = "seeds.json"
MEASURES = {
    "accuracy before projection": ("test_accuracy", "before_projection"),
    "accuracy after projection": ("test_accuracy", "after_projection"),
    "accuracy, re-fitted": ("test_accuracy", "final"),
    "AUROC, re-fitted": ("test_auroc", "final"),
    "accuracy of the plain classifier": ("black_box_accuracy",),
    "share of points shown": ("reasoning", "explained_share"),
    "prototypes for 90 % of points": ("reasoning", "decisive_prototypes"),
    "background prototypes": ("reasoning", "background"),
    "common prototypes": ("reasoning", "common"),
    "duplicate prototypes": ("reasoning", "duplicates"),
}
"""What the table holds, and where ``metrics.json`` has it; what a run lacks is left out"""


@dataclass(frozen=True)
class SeedRuns:
    """Runs that differ in their seed alone."""

    folder: Path
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]

    def rows(self) -> list[dict]:
        """Give for each measure its ``values``, one per seed, their ``mean``, ``low`` and ``high``."""
        found = []
        for label, path in MEASURES.items():
            values = [_look_up(run.metrics, path) for run in self.runs]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                low, high = min(known), max(known)
                if all(run.network.multi_label for run in self.runs):
                    label = label.replace("accuracy", "right answers over all findings")
                found.append(
                    {"measure": label, "values": values, "mean": sum(known) / len(known), "low": low, "high": high}
                )
        return found

    def table(self) -> str:
        """Write the table as text: mean, least and greatest, then each seed."""
        head = ["measure", "mean", "range", *(f"seed {seed}" for seed in self.seeds)]
        lines = [head]
        for row in self.rows():
            span = f"{row['low']:.3f} to {row['high']:.3f}"
            lines.append([row["measure"], f"{row['mean']:.3f}", span, *(f"{value:.3f}" for value in row["values"])])
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
            for line in lines
        )


def train_seeds(
    network: str = "protopnet",
    data: Any = "parts",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    output: str | os.PathLike,
    classes: Sequence[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    log: str | Sequence[str] | None = None,
    **options,
) -> SeedRuns:
    """Train the same network from several seeds, one after the other, as ``protomask train --seeds``.

    >>> protomask.train_seeds(seeds=(0, 1, 2), output="runs/parts").table()                  # doctest: +SKIP

    Args:
        network, data, classes, progress, log, options: as for :func:`protomask.train`.
        seeds: different ones; the data are split alike for all.
        output: folder of the runs, ``seed-0``, ``seed-1``, ..., and of ``seeds.json``, the table.
        resume: go on with what is there; runs that are done are not done again, and seeds that had not begun are
            trained as those that had.

    Raises:
        InputError: as :func:`protomask.train`; no seeds, or one twice; runs there that differ in more than their seed.
    """
    if "seed" in options:
        raise InputError("seed and seeds are both given; give one of them")
    chosen, datasets = asked_for(network, data, classes, options)
    return train_all(
        chosen,
        seeds,
        output,
        said=options,
        data=datasets,
        classes=classes,
        resume=resume,
        progress=progress,
        log=log,
    )


def train_all(
    options: Options,
    seeds: Sequence[int],
    output: str | os.PathLike,
    *,
    said: Collection[str] = (),
    data: Any = None,
    classes: Sequence[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    log: str | Sequence[str] | None = None,
) -> SeedRuns:
    """Train from :class:`protomask.options.Options`; see :func:`train_seeds`."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise InputError(f"seeds is {short(seeds)}; give a list of whole numbers, for example [0, 1, 2]")
    resume, progress = as_flag(resume, "resume"), as_flag(progress, "progress")
    seeds = [as_count(seed, "a seed", least=0) for seed in seeds]
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds are {seeds}; give at least one, each once")
    each = [options.replace(seed=seed) for seed in seeds]  # wrong ones are refused before any training
    folder, beside = as_path(output, "output"), None
    if RunFolder(folder).started:
        raise InputError(f"{folder} is itself a run; give the runs of several seeds another output=")
    places = [folder / f"seed-{seed}" for seed in seeds]
    begun = [place for place in places if RunFolder(place).started]  # before any training begins another one
    others = [RunFolder(place) for place in begun] or runs_of_seeds(folder)
    if others and not resume:
        raise InputError(f"{others[0].folder} holds a run already; go on by resume=, or give another output=")
    if resume:
        if not others:
            raise InputError(
                f"{folder} holds no run to resume (no {places[0].name}/config.json); leave out resume= to start them"
            )
        beside, own = others[0], _options_of(others, options, said)
        if own.weights and len(begun) < len(places):
            require_same_weights(beside, own.weights)
        each = [chosen if place in begun else own.replace(seed=chosen.seed) for chosen, place in zip(each, places)]
    runs: list[Run] = []
    names = logger_names(log)
    for other in others if resume else ():  # a seed that has not begun is logged as those that have
        names += [name for name in other.read(LOGGERS) or {} if name not in names]
    logger_names(names or None)
    for seed, chosen, place in zip(seeds, each, places):
        say(f"seed {seed} ({len(runs) + 1} of {len(seeds)})")
        runs.append(
            train_run(
                chosen,
                place,
                said=said,
                resume=place in begun,
                data=data,
                classes=classes,
                progress=progress,
                log=log if place in begun else names or None,
                beside=None if place in begun else beside,
            )
        )
    found = SeedRuns(folder, tuple(seeds), tuple(runs))
    distributed.only_first(lambda: write_json(folder / FILE, {"seeds": list(seeds), "measures": found.rows()}))
    return found


def _options_of(begun: Sequence[RunFolder], given: Options, said: Collection[str]) -> CompleteOptions:
    """Give the options of a seed that has not begun yet: those that the others were begun with.

    Raises:
        InputError: these differ in more than their seed, or an option was given that none of them has.
    """
    first = begun[0]
    for other in begun[1:]:
        require_same_training(first, other)
    return resumed_options(first, absolute_paths(given).replace(seed=first.options().seed), said)


def _look_up(metrics: dict, path: tuple[str, ...]) -> float | None:
    value: Any = metrics
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
