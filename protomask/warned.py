"""How warnings about single maps call them, and whether they are said: whoever asks for maps knows, the localizer
only their places."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar

from protomask.meanwhile import meanwhile

_NAME: ContextVar[Callable[[int], str] | None] = ContextVar("name of a map", default=None)

_ASKED: ContextVar[bool] = ContextVar("whether somebody asked about these maps", default=True)


def maps_nobody_asked_about(so: bool = True) -> AbstractContextManager[None]:
    """Leave out warnings about single maps meanwhile, as of changed images; ``so=False``: do not.

    Python's own filters would do, but setting them back makes it say again all that it has said once.
    """
    return meanwhile(_ASKED, _ASKED.get() and not so)


def about_maps(category: type[Warning], message: str, stacklevel: int = 1) -> None:
    """Warn about single maps, or about all of them, unless nobody asked."""
    if _ASKED.get():
        warnings.warn(message, category, stacklevel=stacklevel + 1)


def named_maps(name: Callable[[int], str]) -> AbstractContextManager[None]:
    """Let warnings of localizers name a map by ``name(place)``, from its place among those asked for meanwhile."""
    return meanwhile(_NAME, name)


def name_of_map(place: int, index: int, said: str) -> str:
    """Name a map in a warning, with what is said of it.

    >>> name_of_map(2, 7, "score 0.1")
    'image 2 (index 7: score 0.1)'
    """
    name = _NAME.get()
    return f"image {place} (index {index}: {said})" if name is None else f"{name(place)} ({said})"
