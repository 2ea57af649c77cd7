"""The classes of a plain classifier by number and by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from protomask.errors import InputError
from protomask.localizers.base import shorten_repr
from protomask.report.wording import count as counted
from protomask.report.wording import listed

Labels = Iterable[str] | Mapping[int, str]


def labels_of(model: object, labels: Labels | None) -> dict[int, str]:
    """Find the classes' names: those given, in order or by number, or those that a Hugging Face model brings.

    Raises:
        InputError: ``labels`` is something else, or leaves a class without a name.
    """
    if labels is None:
        own = getattr(getattr(model, "config", None), "id2label", None)
        return {int(number): str(name) for number, name in own.items()} if isinstance(own, Mapping) else {}
    if isinstance(labels, str):
        raise InputError("labels is one word; give a list of names, one per class")
    if isinstance(labels, Mapping):
        names = {_class_number(number, {}): str(name) for number, name in labels.items()}
    elif isinstance(labels, Iterable):
        names = {number: str(name) for number, name in enumerate(labels)}
    else:
        raise InputError(f"labels is of type {type(labels).__name__}; give a list of names, one per class")
    for number, name in names.items():
        if not name.strip():
            raise InputError(f"labels has an empty name for class {number}; give it a name")
    return names


def check_labels(labels: Labels | None, names: Mapping[int, str], classes: int) -> None:
    """Check that a list of names, where one was given, has one for each class.

    Args:
        labels: as they were given, perhaps an iterator that is used up.
        names: what :func:`labels_of` made of them.
        classes: of the model.

    Raises:
        InputError: another number of them, or a name of a class that the model has not.
    """
    if isinstance(labels, Mapping):
        wrong = [number for number in names if not 0 <= number < classes]
        if wrong:
            raise InputError(f"labels names a class {wrong[0]}; the model has {classes}, numbered 0 to {classes - 1}")
    elif labels is not None and len(names) != classes:
        raise InputError(f"labels names {len(names)} classes, but the model has {classes}; give one name per class")


def class_numbers(index: object, count: int, names: Mapping[int, str]) -> list[int] | None:
    """Turn what a user names (numbers or names, one for all or one per picture) into numbers; None stays None.

    Raises:
        InputError: no such class, a name that several classes have, or another number of them.
    """
    if index is None:
        return None
    several = index.tolist() if isinstance(index, (Tensor, np.ndarray)) else index
    several = list(several) if isinstance(several, Sequence) and not isinstance(several, str) else [several] * count
    if len(several) != count:
        raise InputError(
            f"index has {counted(len(several), 'class', 'classes')} for {counted(count, 'picture')}; give one for "
            "each, or one for all"
        )
    return [_class_number(each, names) for each in several]


def named_class(word: str, names: Mapping[int, str]) -> int | None:
    """Find the class of that name, as it is written or else in any case; None where there is none.

    Raises:
        InputError: several classes have it.
    """
    word = word.strip()
    alike = [number for number, name in names.items() if name.strip().casefold() == word.casefold()]
    same = [number for number in alike if names[number].strip() == word] or alike
    if len(same) > 1:
        some = listed([str(number) for number in same])
        raise InputError(f"index {word!r} is the name of classes {some}; give the number of one of them")
    return same[0] if same else None


def numbers_called(wanted: Iterable[str], names: Mapping[int, str]) -> list[int]:
    """Find the one class of each name, as it is written or else in any case, with ``_`` for spaces; -1 for none."""
    same: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for number, name in names.items():
        same.setdefault(name, []).append(number)
        alike.setdefault(plain_name(name), []).append(number)
    found = [same.get(name) or alike.get(plain_name(name), []) for name in wanted]
    return [numbers[0] if len(numbers) == 1 else -1 for numbers in found]


def plain_name(name: str) -> str:
    """Write a name as it is compared with others: in one case, with spaces for ``_``."""
    return " ".join(name.replace("_", " ").split()).casefold()


def have_names(names: Mapping[int, str]) -> bool:
    """Tell whether classes are called anything but their numbers (Hugging Face models say LABEL_0)."""
    return any(name.strip() not in (str(number), f"LABEL_{number}") for number, name in names.items())


def _class_number(one: Any, names: Mapping[int, str]) -> int:
    if isinstance(one, str):
        number = named_class(one, names)
        if number is not None:
            return number
        known = f"; known are {shorten_repr(list(names.values()))}" if names else "; names need labels="
        raise InputError(f"there is no class {one!r}{known}")
    try:
        number = int(one)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"index {shorten_repr(one)} is no class; give its number or its name") from error
    if number != one or isinstance(one, bool):
        raise InputError(f"index {one!r} is no class; give a whole number")
    if abs(number) > 2**53:
        raise InputError(f"there is no class {shorten_repr(number, 20)}; give a smaller number")
    return number
