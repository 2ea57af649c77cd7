"""How warnings about single maps call them: whoever asks for maps knows their names, the localizer their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NAME: ContextVar[Callable[[int], str] | None] = ContextVar("name of a map", default=None)


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
