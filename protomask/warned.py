"""How warnings about single maps call them, and whether they are said: whoever asks for maps knows, the localizer
only their places."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NAME: ContextVar[Callable[[int], str] | None] = ContextVar("name of a map", default=None)

_ASKED: ContextVar[bool] = ContextVar("whether somebody asked about these maps", default=True)


@contextmanager
def maps_nobody_asked_about(so: bool = True) -> Iterator[None]:
    """Leave out warnings about single maps meanwhile, as of changed images; ``so=False``: do not.

    Python's own filters would do, but setting them back makes it say again all that it has said once.
    """
    before = _ASKED.set(_ASKED.get() and not so)
    try:
        yield
    finally:
        _ASKED.reset(before)


def about_maps(category: type[Warning], message: str, stacklevel: int = 1) -> None:
    """Warn about single maps, or about all of them, unless nobody asked."""
    if _ASKED.get():
        warnings.warn(message, category, stacklevel=stacklevel + 1)


@contextmanager
def named_maps(name: Callable[[int], str]) -> Iterator[None]:
    """Let warnings of localizers name a map by ``name(place)``, from its place among those asked for meanwhile."""
    before = _NAME.set(name)
    try:
        yield
    finally:
        _NAME.reset(before)


def name_of_map(place: int, index: int, said: str) -> str:
    """Name a map in a warning, with what is said of it.

    >>> name_of_map(2, 7, "score 0.1")
    'image 2 (index 7: score 0.1)'
    """
    name = _NAME.get()
    return f"image {place} (index {index}: {said})" if name is None else f"{name(place)} ({said})"
