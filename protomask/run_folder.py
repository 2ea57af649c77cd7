"""A run's folder: what training leaves behind, and what the other commands read."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from protomask.errors import InputError
from protomask.files import check_regular_file, check_usable, read_text
from protomask.given import as_path
from protomask.json_files import read_json, write_json
from protomask.lock import LOCK, locked
from protomask.options import CompleteOptions, Options
from protomask.run_schemas import SCHEMAS
from protomask.schema import check

MEND = "restore it, or make the run again"
RUNS = Path("runs")
"""where runs go that are given no folder"""
FOLDERS = (
    "checkpoint",
    "distillation",
    "evaluation",
    "prototypes",
    "explanations",
    "figures",
    "refined",
    "tensorboard",
)
"""what a run writes into, below its own folder"""
UNFINISHED = ".unfinished"
"""stands in a folder while a command makes a run there that nothing could go on with; may hold what its
``config.json`` will"""
PACKAGES = ("protomask", "torch", "torchvision", "timm", "numpy", "scikit-image")


class RunFolder:
    """Paths and JSON files of one run.

    ``config.json`` (options, versions, data fingerprint), ``model.safetensors`` and ``model.json``, ``checkpoint/``,
    ``log.jsonl``, ``metrics.json``, ``prototypes.json``, ``prototypes/``, ``evaluation.json``, ``report.html``.

    Raises:
        InputError: nothing can be called so.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = as_path(folder, "the run's folder")
        check_usable(self.folder, "give another folder")

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @classmethod
    def open(cls, folder: str | os.PathLike) -> RunFolder:
        """Open an existing run.

        Raises:
            InputError: there is none.
        """
        run = cls(folder)
        if not run.folder.is_dir():
            raise InputError(f"{folder} is no folder; give the run folder that protomask train wrote")
        if not run.has("config.json"):
            refuse_unfinished(run)
            raise InputError(
                f"{folder} has no config.json, so it is no run folder; give the one that protomask train wrote"
            )
        check_regular_file(run / "config.json", MEND)
        return run

    def has(self, name: str) -> bool:
        """Tell whether anything is called so, also what cannot be read (a folder, a link that leads nowhere)."""
        return os.path.lexists(self / name)

    def is_whole(self, name: str) -> bool:
        """Tell whether a file is there, and undamaged as far as its kind can tell."""
        try:
            check_regular_file(self / name)
            if Path(name).suffix in (".json", ".jsonl"):
                checked_json(self / name, MEND)
        except InputError:
            return False
        return True

    def lock(self, new: bool = False) -> AbstractContextManager[None]:
        """Keep other commands out of the folder; see :func:`protomask.lock.locked`. Of a job's processes the first one
        holds it.

        Args:
            new: whether the folder is made where it is missing.

        Raises:
            InputError: another command is at work there; one of the folders that a run writes into is a link; a run
                that was opened is no longer there.
        """
        from protomask import distributed

        if not new:
            check_still_there(self.folder)
        self._check_folders()
        return locked(self.folder) if distributed.is_first() else nullcontext()

    def _check_folders(self) -> None:
        """Check that nothing that a run writes into is a link: a shared run must not make us write elsewhere."""
        for name in FOLDERS:
            inside = [(str(self / name), [], [])] if os.path.islink(self / name) else os.walk(self / name)
            for path, below, _ in inside:
                for each in (path, *(os.path.join(path, one) for one in below)):
                    if os.path.islink(each):
                        raise InputError(
                            f"{each} is a link; a run writes into folders of its own only: put a folder there"
                        )

    @property
    def started(self) -> bool:
        return self.has("config.json")

    def read(self, name: str, needed_by: str | None = None):
        """Read a JSON file of the run (a list of rows for ``.jsonl``); None where it is missing, unless ``needed_by``
        says who makes it.

        Raises:
            InputError: it is damaged, or missing though needed.
        """
        if not self.has(name):
            if needed_by is None:
                return None
            raise InputError(f"{self.folder} has no {name}; make it with: {needed_by}")
        mend = f"make it again with: {needed_by}" if needed_by else MEND
        return checked_json(self / name, mend)

    def write(self, name: str, content) -> None:
        """Write a JSON file (rows for ``.jsonl``), whole or not at all, with a checksum."""
        write_json(self / name, content)

    def options(self) -> CompleteOptions:
        """Give the options the run was started with."""
        return CompleteOptions(**read_options(self / "config.json", MEND).to_mapping())


def check_still_there(folder: Path, mend: str = "start again with the folder where it is now") -> None:
    """Raise InputError where a run that was opened has gone: nothing is written into a folder that only looks like it.

    Args:
        mend: what else helps than to put it back.
    """
    if not folder.is_dir():
        raise InputError(f"the run's folder {folder} is no longer there (moved or deleted?); put it back, or {mend}")


def checked_json(path: Path, mend: str):
    """Read a run's JSON file, compared with what it should hold; see :mod:`protomask.run_schemas`.

    Raises:
        InputError: missing, damaged, changed since it was written, or of another shape.
    """
    content = read_json(path, mend)
    try:
        check(content, SCHEMAS.get(path.name, Any))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {mend}") from error
    return content


def read_options(path: str | Path, mend: str = "give a JSON or YAML file of options") -> Options:
    """Read options from a JSON file, or a YAML file (``.yaml``, ``.yml``): a flat mapping, or a run's ``config.json``.

    Raises:
        InputError: no such file, neither JSON nor YAML, unknown or wrong options.
    """
    yaml = Path(path).suffix.lower() in (".yaml", ".yml")
    values = read_yaml(path, mend) if yaml else read_json(path, mend)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a {'mapping' if yaml else 'JSON object'} of options")
    values = values.get("options", values)
    if not isinstance(values, dict):
        raise InputError(f'{path}: "options" must be a {"mapping" if yaml else "JSON object"}')
    values = {str(name).replace("-", "_") if yaml else name: value for name, value in values.items()}
    return Options.from_mapping(values, str(path))


def read_yaml(path: str | Path, mend: str) -> object:
    """Read a YAML file of plain values (``yaml.safe_load``).

    Raises:
        InputError: no such file, or no YAML.
    """
    import yaml

    text = read_text(path, "YAML", mend)
    try:
        # A few of these can stand for more values than any memory holds.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("aliases, *name, are not read")
        return yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{path} is not YAML (nested too deeply); {mend}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())}); {mend}") from None


def folder_beside(folder: Path) -> Path:
    """Find the folder in which a run stands, also where the run is named by a link, or ``.`` from within."""
    real = folder.resolve().parent
    return folder.parent if folder.parent.resolve() == real else real


def free_folder(parent: Path, name: str) -> Path:
    """Make ``parent/name``, or with -2, -3, ... where something stands there already: nobody else gets the same one.

    Raises:
        InputError: nothing can be made in ``parent``.
    """
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError:
            if parent.exists() and not parent.is_dir():
                raise InputError(f"{parent} is no folder; choose another output=") from None
            number += 1
        except OSError as error:
            raise InputError(f"cannot make {folder}: {error.strerror}; choose another output=") from error


@contextmanager
def new_run(
    output: str | os.PathLike | None, parent: Path, name: str, *, empty: bool = True, whole: bool = False
) -> Iterator[RunFolder]:
    """Make and lock a new run's folder before the work begins; remove it where the work fails and left nothing.

    Args:
        output: the folder that was asked for; None takes a free one, see :func:`free_folder`.
        empty: whether nothing at all may be in it; otherwise no run may be.
        whole: whether work that fails, or is interrupted, leaves nothing of what it wrote, since nothing could go on
            with half of it. Only with ``empty``, where all in the folder is the work's own. What a process that was
            killed left is known by the file ``UNFINISHED``: ``config.json`` is written last, by the work, or here with
            what the work has written into that file.

    Raises:
        InputError: it holds something already, or another process makes a run there.
    """
    run = RunFolder(free_folder(parent, name) if output is None else output)
    if run.folder.exists() and not run.folder.is_dir():
        raise InputError(f"output={output} is a file; give a folder")
    _check_new(run, empty)  # before anything is made in somebody's folder, and again when nobody else can
    with run.lock(new=True):
        try:
            _check_new(run, empty, alone=True)
            try:
                if whole and empty:
                    run.write(UNFINISHED, {})
                yield run
                _complete(run)
            except BaseException:
                if whole and empty:
                    with suppress(OSError):
                        _remove_content(run.folder)
                raise
        finally:
            remove_unused(run.folder)


def _complete(run: RunFolder) -> None:
    if config := run.read(UNFINISHED):
        run.write("config.json", config)
    (run / UNFINISHED).unlink(missing_ok=True)


def _check_new(run: RunFolder, empty: bool, alone: bool = False) -> None:
    """Check that a run can be made in a folder; ``alone`` says that this process has locked it."""
    if run.started:
        raise InputError(f"{run.folder} holds a run already; give another output=")
    if run.has(UNFINISHED) and not alone:
        return  # whether somebody is at work there, the lock knows
    refuse_unfinished(run)
    if empty and run.folder.exists() and any(each.name != LOCK for each in run.folder.iterdir()):
        raise InputError(f"output={run.folder} exists already; give a new folder")


def refuse_unfinished(run: RunFolder) -> None:
    """Raise InputError for a folder with half a run, which prune, refine or ``save_run`` was making."""
    if run.has(UNFINISHED) and not run.started:
        raise InputError(
            f"{run.folder} holds an unfinished run; unless the command that makes it is still at work, it was killed: "
            "delete the folder, and make the run again"
        )


def _remove_content(folder: Path) -> None:
    (folder / "config.json").unlink(missing_ok=True)  # first: what is left by another interruption is no run
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        elif each.name not in (LOCK, UNFINISHED):
            each.unlink(missing_ok=True)
    (folder / UNFINISHED).unlink(missing_ok=True)


@contextmanager
def alone_in(output: Path, *, sweep: bool = False, patience: float = 0.0) -> Iterator[None]:
    """Keep other commands out of a folder that is no run, and make it; of a job's processes the first one does.

    A folder that was missing is removed again where nothing came to be in it.

    Args:
        sweep: whether half-written files are removed; only of a folder that is ours, see :func:`protomask.lock.locked`.
        patience: seconds to wait for whoever is at work there.

    Raises:
        InputError: another process or thread is at work there (named), or it is no folder, or cannot be written to.
    """
    from protomask import distributed

    if not distributed.is_first():
        yield
        return
    check_usable(output, "give another output=")
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output} is a file; give a folder")
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        with locked(output, sweep=sweep, patience=patience):
            try:
                yield
            finally:
                if output in missing:
                    remove_unused(output)
    finally:
        for folder in missing:
            with suppress(OSError):  # not empty
                folder.rmdir()


def remove_unused(folder: Path) -> None:
    """Remove a run's folder, ours alone or locked, in which nothing came to be."""
    try:
        if {each.name for each in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
    except OSError:
        pass  # somebody else's, by now


def versions() -> dict[str, str]:
    """Give the versions of what decides the figures."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
