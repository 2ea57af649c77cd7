"""Values that hold for a while, for whatever is called meanwhile, in this thread alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def meanwhile(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Set a variable, and put back what it was."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)
