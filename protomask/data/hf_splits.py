"""Which splits of a Hugging Face ``datasets`` data set are which, and which are not read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from protomask.data.folder_splits import NAMES
from protomask.errors import InputError, first_of

_CALLED = {**NAMES, "validation": (*NAMES["validation"], "dev")}
# Another name of a split to test on: who draws test images from train beside it measures something else than is meant.
_LIKE_TEST = re.compile("tests?|testing|evals?|evaluations?|held|hold|heldout|holdouts?")


def named_splits(found: Any, named: str) -> dict[str, tuple[str, Any]]:
    """Give what the splits are: train, test, validation -> the split's own name, and its rows.

    Raises:
        InputError: none is called train, or two are called the same.
    """
    if not hasattr(found, "items"):
        return {"train": ("train", found)}
    filled = [name for name in found if len(found[name])]
    known = {}
    for key, names in _CALLED.items():
        own = [name for name in filled if name.casefold() in names]
        if len(own) > 1:
            raise InputError(
                f"{named}: has both {own[0]} and {own[1]}, which mean the same split; save it with one of them"
            )
        if own:
            known[key] = own[0], found[own[0]]
    if "train" not in known and len(found) == 1:
        return {"train": next(iter(found.items()))}
    if "train" not in known:
        raise InputError(f"{named}: no split is called train, there are {', '.join(found)}; call one of them train")
    return known


def unread_splits(found: Any, parts: Mapping[str, tuple[str, Any]]) -> dict[str, int]:
    """Give the splits that are not among ``parts``, with their numbers of rows."""
    read = {name for name, _ in parts.values()}
    sizes = {name: len(found[name]) for name in found if name not in read} if hasattr(found, "items") else {}
    return {name: size for name, size in sizes.items() if size}


def refuse_tests(unread: Iterable[str], named: str) -> None:
    """Raise InputError where test images would be drawn from train beside a split that seems to hold some."""
    for name in unread:
        if name.casefold() not in _CALLED["test"] and any(map(_LIKE_TEST.fullmatch, _words(name))):
            raise InputError(
                f"{named}: the split {name} seems to hold test images, but none is called test; call it so, or say "
                "which share of the training images to test on: by test_share= (test= of load_data)"
            )


def _words(name: str) -> list[str]:
    """Split a name where its letters end, and between a small and a capital one: testA, public_eval."""
    parted = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.casefold() for word in re.findall(r"[^\W\d_]+", parted)]


def unread_remarks(unread: Mapping[str, int], named: str) -> list[str]:
    """Name the splits that are not read: called otherwise, or (test images) without labels."""
    if not unread:
        return []
    names = first_of([f"{name} ({size:,} rows)" for name, size in unread.items()], 5)
    return [
        f"{named}: {'a split that is' if len(unread) == 1 else f'{len(unread)} splits that are'} not read: {names}; "
        "read are train, test and validation, of these test and validation only with labels"
    ]
