"""A run's folder: what training leaves behind, and what the other commands read."""

from __future__ import annotations

import json
import platform
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from protomask.errors import InputError
from protomask.lock import locked
from protomask.options import Options

PACKAGES = ("protomask", "torch", "torchvision", "timm", "numpy", "scikit-image")


class RunFolder:
    """Paths and JSON files of one run.

    ``config.json`` (options, versions, data fingerprint), ``model.safetensors`` and ``model.json``, ``checkpoint/``,
    ``log.jsonl``, ``metrics.json``, ``prototypes.json``, ``prototypes/``, ``evaluation.json``, ``report.html``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @classmethod
    def open(cls, folder: str | Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: there is none.
        """
        run = cls(folder)
        if not run.folder.is_dir():
            raise InputError(f"{folder} is no folder; give the run folder that protomask train wrote")
        if not (run / "config.json").is_file():
            raise InputError(
                f"{folder} has no config.json, so it is no run folder; give the one that protomask train wrote"
            )
        return run

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other commands out of the folder; see :func:`protomask.lock.locked`. Of a job's processes the first one
        holds it."""
        from protomask import distributed

        return locked(self.folder) if distributed.is_first() else nullcontext()

    @property
    def started(self) -> bool:
        return (self / "config.json").exists()

    def read(self, name: str, needed_by: str | None = None):
        """A JSON file of the run (a list of rows for ``.jsonl``); None where it is missing, unless ``needed_by`` says
        who makes it.

        Raises:
            InputError: it is damaged, or missing though needed.
        """
        path = self / name
        if not path.is_file():
            if needed_by is None:
                return None
            raise InputError(f"{self.folder} has no {name}; make it with: {needed_by}")
        try:
            text = path.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); restore it or make the run again") from error

    def write(self, name: str, content) -> None:
        """Writes a JSON file (rows for ``.jsonl``), whole or not at all."""
        from protomask.training.checkpoint import write_atomically

        if name.endswith(".jsonl"):
            text = "".join(json.dumps(row) + "\n" for row in content)
        else:
            text = json.dumps(content, indent=1) + "\n"
        write_atomically(self / name, lambda path: path.write_text(text, encoding="utf-8"))

    def options(self) -> Options:
        """The options the run was started with."""
        return read_options(self / "config.json")


def read_options(path: Path) -> Options:
    """Options from a JSON file: a flat mapping of options, or a run's ``config.json``.

    Raises:
        InputError: no such file, not JSON, unknown or wrong options.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object of options")
    values = values.get("options", values)
    if not isinstance(values, dict):
        raise InputError(f'{path}: "options" must be a JSON object')
    return Options.from_mapping(values, str(path))


def free_folder(parent: Path, name: str) -> Path:
    """``parent/name``, or with -2, -3, ... where a run stands there already."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
