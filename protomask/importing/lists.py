"""Files that say what a network's own file leaves out: names of classes, and the class of each prototype."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from protomask.errors import InputError
from protomask.files import read_bytes, read_text
from protomask.importing.numbered import names_of_json


def read_names(path: Path) -> list[str]:
    """Read the lines of a file of names, one a line, or a list of them in JSON; :func:`names_in` makes names of them.

    Raises:
        InputError: unreadable, or no name in it.
    """
    try:
        text = read_text(path, mend="give a file with one class name a line")
    except InputError as error:
        raise InputError(f"classes {error}") from None
    listed = names_of_json(text, f"classes {path}")
    if listed is not None:
        return listed
    # Other characters at which splitlines would split may be part of a name.
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if not lines:
        raise InputError(f"classes {path}: no names in it; write one a line, in the order of the network's classes")
    return lines


def names_in(lines: Sequence[str], classes: Collection[str]) -> list[str]:
    """Take what is no part of a name off each line: space around it, and numbers before it.

    CUB's ``classes.txt`` has numbers. They stay where more of the lines are classes with them than without ("1 euro"),
    and where they do not count up, which would leave open whose order is meant.

    >>> names_in(["1 cat", "2 dog"], ["cat", "dog"]), names_in(["1 euro", "2 euro"], ["1 euro", "2 euro"])
    (['cat', 'dog'], ['1 euro', '2 euro'])

    Args:
        lines: in the order of the network's classes.
        classes: the data's.
    """
    known = set(classes)
    bare = [line if line in known else line.strip() for line in lines]
    words = [line.split(maxsplit=1) for line in lines]
    if not all(len(word) == 2 and word[0].isdecimal() and len(word[0]) < 10 for word in words):
        return bare
    numbers, names = [int(number) for number, _ in words], [name.strip() for _, name in words]
    counted = all(one < following for one, following in pairwise(numbers))
    return names if counted and len(known.intersection(names)) > len(known.intersection(bare)) else bare


def read_owners(path: Path) -> dict[str, list]:
    """Give the class of each prototype: whole numbers from 0 in a text, separated by spaces, commas or lines.

    A ``.npy`` file is the official ``prune_info.npy``: rows (number, class) of the prototypes that were removed.

    Returns:
        ``owners`` or ``removed``, as ``import_official`` of a network takes them.

    Raises:
        InputError: unreadable, or something else in it.
    """
    option = f"prototype_classes {path}"
    try:
        if path.suffix != ".npy":
            text = read_text(path)
            return {
                "owners": [int(word) for word in text.replace(",", " ").replace("[", " ").replace("]", " ").split()]
            }
        rows = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except InputError as error:
        raise InputError(f"prototype_classes {error}") from None
    except Exception:  # numpy takes the head of a file apart by means of Python's own parser
        kind = "an array of numbers" if path.suffix == ".npy" else "whole numbers, one for each prototype"
        raise InputError(f"{option}: something else in it than {kind}") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
        raise InputError(f"{option}: expected rows of two whole numbers, the official prune_info.npy")
    return {"removed": rows.tolist()}
