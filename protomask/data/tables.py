"""Files of annotations: whether they are there, and CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protomask.errors import InputError
from protomask.files import read_text


def is_named(path: Path) -> bool:
    """Tell whether anything has this name, also what cannot be read: that is said, not taken for a missing file."""
    return os.path.lexists(path)


@contextmanager
def open_csv(path: Path) -> Iterator[io.StringIO]:
    """Open a CSV file for one of the readers of ``csv``; what these complain about within is told in one line.

    Raises:
        InputError: as :func:`protomask.files.read_text`, or the file is no CSV; names it.
    """
    try:
        yield io.StringIO(read_text(path, "a CSV file", "restore or remove it"), newline="")
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from None
