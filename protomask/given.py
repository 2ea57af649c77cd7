"""Checks of what people give to functions: whole numbers, paths. One line says what was given and what to give."""

from __future__ import annotations

import operator
import os
from pathlib import Path

from protomask.errors import InputError


def as_count(given: object, name: str, least: int = 1, most: int = 2**31 - 1) -> int:
    """Return a whole number from ``least`` to ``most``; numpy's whole numbers will do.

    Raises:
        InputError: something else; names it.
    """
    try:
        number = operator.index(given) if not isinstance(given, bool) else None  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        span = f"from {least} to {most}" if most < 2**31 - 1 else f"of at least {least}"
        raise InputError(f"{name} is {_short(given)}; give a whole number {span}")
    return number


def as_path(given: object, name: str) -> Path:
    """Return a path, of a text or of what stands for a path.

    Raises:
        InputError: something else, or an empty text; names it.
    """
    try:
        text = os.fspath(given)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text:
        raise InputError(f"{name} is {_short(given)}; give a path")
    return Path(text)


def _short(given: object) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else f"a {type(given).__name__}"
