"""The classes of a plain classifier by number and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from protomask.errors import InputError
from protomask.localizers.base import shorten_repr


def labels_of(model: object, labels: Sequence[str] | None) -> dict[int, str]:
    """Find the classes' names: those given, or those that a Hugging Face model brings."""
    if labels is None:
        own = getattr(getattr(model, "config", None), "id2label", None)
        return {int(number): str(name) for number, name in own.items()} if isinstance(own, Mapping) else {}
    if isinstance(labels, str):
        raise InputError("labels is one word; give a list of names, one per class")
    return {number: str(name) for number, name in enumerate(labels)}


def class_numbers(index: object, count: int, names: Mapping[int, str]) -> list[int] | None:
    """Turn what a user names (numbers or names, one for all or one per picture) into numbers; None stays None.

    Raises:
        InputError: no such class, or another number of them.
    """
    if index is None:
        return None
    several = index.tolist() if isinstance(index, (Tensor, np.ndarray)) else index
    several = list(several) if isinstance(several, Sequence) and not isinstance(several, str) else [several] * count
    if len(several) != count:
        raise InputError(f"index has {len(several)} classes for {count} pictures; give one for each, or one for all")
    return [_class_number(each, names) for each in several]


def _class_number(one: Any, names: Mapping[int, str]) -> int:
    if isinstance(one, str):
        for number, name in names.items():
            if name.casefold() == one.strip().casefold():
                return number
        known = f"; known are {shorten_repr(list(names.values()))}" if names else "; names need labels="
        raise InputError(f"there is no class {one!r}{known}")
    try:
        number = int(one)
    except (TypeError, ValueError) as error:
        raise InputError(f"index {shorten_repr(one)} is no class; give its number or its name") from error
    if number != one or isinstance(one, bool):
        raise InputError(f"index {one!r} is no class; give a whole number")
    return number
