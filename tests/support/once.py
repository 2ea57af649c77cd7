"""What is made once, for all processes of ``pytest -n``: most of a run that is trained is time."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from protomask.lock import locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make(folder)`` fills, in the first process that asks; the others wait for it.

    They all read it; what is written to is to be copied."""
    base = factory.getbasetemp()
    # Without locks (Windows) each process makes its own.
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ and find_spec("fcntl") else base
    folder, made = base / name, base / f"{name}.made"
    with locked(base, f"{name}.lock", patience=600):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed half-way
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
