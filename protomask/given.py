"""Checks of what people give to functions: whole numbers, flags, normalisations, names, paths.

One line says what was given and what to give.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path

from protomask.errors import InputError, type_named


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
        bounded = most < 2**31 - 1 or (number is not None and number > most)
        span = f"from {least} to {most}" if bounded else f"of at least {least}"
        raise InputError(f"{name} is {short(given)}; give a whole number {span}")
    return number


def as_flag(given: object, name: str) -> bool:
    """Return True or False; numpy's will do, but no text or number, whose truth may be the opposite of its meaning.

    Raises:
        InputError: something else; names it.
    """
    if type(given).__name__ not in ("bool", "bool_"):  # numpy calls its own so; it is not imported for that
        raise InputError(f"{name} is {short(given)}; give True or False")
    return bool(given)


def as_statistics(given: object, name: str) -> tuple[float, ...]:
    """Return the numbers of a normalisation, one per channel.

    Args:
        name: ``"mean"``, or ``"std"``, whose numbers are positive.

    Raises:
        InputError: something else, no numbers, or some that are not finite; names it.
    """
    try:
        numbers = () if isinstance(given, str) else tuple(float(value) for value in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    positive = name == "std"
    if not numbers or not all(math.isfinite(number) and (number > 0 or not positive) for number in numbers):
        kind = "positive, finite" if positive else "finite"
        raise InputError(f"{name} is {short(given)}; give one number per channel, {kind}")
    return numbers


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
        raise InputError(f"{name} is {short(given)}; give a path")
    return Path(text)


def as_names(given: Iterable[str], name: str) -> tuple[str, ...]:
    """Give names as a tuple; InputError where they are one text, or nothing that has several."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InputError(f"{name} is {short(given)}; give their names, as a list of texts")
    return tuple(given)


def refuse_run(given: object, name: str = "network") -> None:
    """Raise InputError for a run, where its network is asked for."""
    if hasattr(given, "network") and hasattr(given, "folder") and not hasattr(given, "score") and not callable(given):
        raise InputError(f"{name} is {type_named(given)}; give its network: run.network")


def short(given: object) -> str:
    """Write what was given in one short line: its repr, or its type alone where that is long (weights, a model)."""
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else type_named(given)
