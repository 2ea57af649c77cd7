"""Files that say what a network's own file leaves out: names of classes, and the class of each prototype."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from protomask.errors import InputError
from protomask.files import read_bytes, read_text


def read_names(path: Path) -> list[str]:
    """Read one name a line; numbers before the names, as in CUB's ``classes.txt``, are left out.

    Raises:
        InputError: unreadable, or no name in it.
    """
    try:
        text = read_text(path, mend="give a file with one class name a line")
    except InputError as error:
        raise InputError(f"classes {error}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"classes {path}: no names in it; write one a line, in the order of the network's classes")
    words = [line.split(maxsplit=1) for line in lines]
    numbered = all(len(word) == 2 and word[0].isdecimal() for word in words)
    return [word[1] for word in words] if numbered else lines


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
