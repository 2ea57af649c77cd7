"""The scripts of benchmarks/, as modules."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest


@contextmanager
def benchmark(root: Path, name: str) -> Iterator[ModuleType]:
    """Import benchmarks/NAME.py of the project in ``root``, as if it were run there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "benchmarks")
        yield importlib.import_module(name)
        sys.modules.pop(name)
