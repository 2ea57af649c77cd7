"""The training log beside ``log.jsonl``: in TensorBoard, Weights & Biases or MLflow, each by its own package, which is
imported only where it is asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from protomask.errors import InputError, did_you_mean
from protomask.json_files import write_json

FILE = "loggers.json"
"""of a run's folder: where each record goes on, and how many rows it has"""
Values = dict[str, float]
_log = logging.getLogger("protomask")


class Logger(Protocol):
    """One record of a training. ``found`` finds it again: what ``FILE`` holds of it; empty for a new one."""

    found: dict[str, Any]

    def write(self, values: Values, row: int, epoch: int) -> None:
        """Add the numbers of a row, by ``stage/name``."""

    def close(self, outcome: str) -> None:
        """End the record: finished, failed or interrupted."""


class TensorBoard:
    """Scalars at the epoch of their stage, in the run's ``tensorboard/``."""

    def __init__(self, folder: Path, options: Mapping[str, Any], found: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.found = found
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, values: Values, row: int, epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, outcome: str) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, of the project ``WANDB_PROJECT`` or protomask; its files are in the run's ``wandb/``.

    Its own variables hold, ``WANDB_MODE=offline`` among them. Offline, each resumption is a folder of its own with the
    same id, which ``wandb sync`` puts together.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], found: dict[str, Any]) -> None:
        import wandb

        if (folder / "wandb").is_symlink():
            raise InputError(
                f"{folder / 'wandb'} is a link; a run writes into folders of its own only: put a folder there"
            )
        self.found = found or {"id": uuid4().hex[:12]}
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "protomask",
                name=folder.absolute().name,
                id=self.found["id"],
                resume="allow",
                dir=str(folder),
                config=dict(options),
                settings=wandb.Settings(console="off"),
            )
        except wandb.errors.Error as error:
            raise InputError(
                f"wandb does not start ({first_line(error)}); log in with the command wandb login, or set "
                "WANDB_MODE=offline"
            ) from error

    def write(self, values: Values, row: int, epoch: int) -> None:
        self._run.log(values, step=row)

    def close(self, outcome: str) -> None:
        self._run.finish(exit_code=0 if outcome == "finished" else 1)


class MLflow:
    """A run of MLflow, of the experiment ``MLFLOW_EXPERIMENT_NAME`` or protomask, at ``MLFLOW_TRACKING_URI`` or where
    MLflow puts it (a file in the working folder); a resumed run finds it from any working folder."""

    def __init__(self, folder: Path, options: Mapping[str, Any], found: dict[str, Any]) -> None:
        import mlflow

        address = os.environ.get("MLFLOW_TRACKING_URI") or found.get("address") or mlflow.get_tracking_uri()
        try:
            self._client = mlflow.MlflowClient(tracking_uri=address)
            if not found:
                found = {"id": self._begin(folder.absolute().name, options), "address": address}
            else:
                self._client.update_run(found["id"], status="RUNNING")
        except mlflow.exceptions.MlflowException as error:
            raise InputError(
                f"mlflow does not start at {address} ({first_line(error)}); set MLFLOW_TRACKING_URI to a server, or to "
                "a file: sqlite:///mlflow.db"
            ) from error
        self.found = found

    def _begin(self, name: str, options: Mapping[str, Any]) -> str:
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "protomask"
        experiment = self._client.get_experiment_by_name(title)
        number = experiment.experiment_id if experiment else self._client.create_experiment(title)
        run = self._client.create_run(number, run_name=name).info.run_id
        for option, value in options.items():
            self._client.log_param(run, option, value)
        return run

    def write(self, values: Values, row: int, epoch: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self.found["id"], name, value, step=epoch)

    def close(self, outcome: str) -> None:
        status = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}[outcome]
        self._client.set_terminated(self.found["id"], status)


KINDS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
"""by the name of the option, which is the package's own"""


def logger_names(given: str | Sequence[str] | None) -> list[str]:
    """Give the names that ``log=`` holds, separated by commas or as a list, each once; none for None.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    if given is not None and not isinstance(given, str | list | tuple):
        raise InputError(f"log is {given!r}; give names, for example 'tensorboard,wandb'")
    words = given.split(",") if isinstance(given, str) else list(given or ())
    names = list(dict.fromkeys(str(word).strip() for word in words))
    if given is not None and not any(names):
        raise InputError(f"log names nothing; known: {', '.join(KINDS)}")
    for name in names:
        if name not in KINDS:
            raise InputError(f"log names {name!r}; known: {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of records in the working folder is no package
            raise InputError(f"log={name} needs the package {name}; install it with: pip install {name}")
    return names


class Loggers:
    """All records of a training; a context manager, which ends them.

    Called with all rows so far, as :func:`protomask.training.train` calls its ``log``; each row is written once to each
    record, also over interruptions. A resumed training goes on with the records that its folder names, whether they are
    asked for again or not, and opens them with its first new row. A record that cannot be opened again, or a row that
    it does not take (a server that is gone), does not stop a training: a line says so, once until it answers again.
    The record is then opened anew and given what it lacks, with the next row and at the end of the training.

    Args:
        folder: the run's.
        names: of ``KINDS``.
        options: of the run, which a new record keeps.
        known: what ``FILE`` holds; nothing in a new run.

    Raises:
        InputError: a new record cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        options: Mapping[str, Any],
        known: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._folder, self._options = folder, {name: value for name, value in options.items() if value is not None}
        self._state = {name: dict(each) for name, each in (known or {}).items()}
        self._open: dict[str, Logger] = {}
        self._gone: set[str] = set()
        """which did not take the last row; one that is open may never work again, and is opened anew"""
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._names = logger_names([*self._state, *names] or None)
        for name in self._names:
            if name not in self._state:
                self._begin(name)

    def _begin(self, name: str) -> None:
        found = {key: value for key, value in self._state.get(name, {}).items() if key != "rows"}
        self._open[name] = KINDS[name](self._folder, self._options, found)
        self._keep(name, self._state.get(name, {}).get("rows", 0))

    def _keep(self, name: str, rows: int) -> None:
        self._state[name] = {**self._open[name].found, "rows": rows}
        write_json(self._folder / FILE, self._state)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows
        for name in self._names:
            self._offer(name, "failed")

    def _offer(self, name: str, outcome: str) -> None:
        """Give a record the rows that it lacks.

        Args:
            outcome: by which one that did not take the last row is closed, before it is opened anew.
        """
        done = self._state[name]["rows"]
        if len(self._rows) <= done:
            return
        try:
            if name in self._gone and name in self._open:
                with suppress(Exception):
                    self._open.pop(name).close(outcome)
            if name not in self._open:
                self._begin(name)
            for number, row in enumerate(self._rows[done:], done + 1):
                if values := numbers_of(row):
                    self._open[name].write(values, number, row.get("epoch", number))
                done = number
            self._gone.discard(name)
        except Exception as error:  # of a package's own kind, or of its network
            if name not in self._gone:
                _log.warning("%s does not take the log (%s); tried again later", name, first_line(error))
            self._gone.add(name)
        if name in self._open:
            self._keep(name, done)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        outcome = "finished" if kind is None else "interrupted" if kind is KeyboardInterrupt else "failed"
        for name in self._names:
            try:
                if kind is None and name in self._gone:  # else a resumed training gives the rows
                    self._offer(name, outcome)
                    if name in self._gone:
                        _log.warning("%s lacks the last rows of the log; log.jsonl has them", name)
                if name in self._open:
                    self._open[name].close(outcome)
            except Exception as error:
                _log.warning("%s does not end its record (%s)", name, first_line(error))


def numbers_of(row: Mapping[str, Any]) -> Values:
    """Give the numbers of a row of the log, by ``stage/name``.

    >>> numbers_of({"stage": "last layer", "epoch": 2, "loss": 0.5, "per_class": {}})
    {'last_layer/loss': 0.5}
    """
    stage = row["stage"].replace(" ", "_")
    return {
        f"{stage}/{name}": float(value)
        for name, value in row.items()
        if name not in ("stage", "epoch") and isinstance(value, int | float) and not isinstance(value, bool)
    }


def first_line(error: BaseException) -> str:
    """Give an error's first line, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
