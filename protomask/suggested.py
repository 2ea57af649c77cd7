"""Commands that a message tells to give, so that they can be copied as they stand."""

from __future__ import annotations

import os
import shlex


def command(*words: str | os.PathLike[str]) -> str:
    """Write a command of protomask for a shell, with quotes where a folder has spaces.

    >>> command("project", "runs/my run", "--localizer", "mdm")
    "protomask project 'runs/my run' --localizer mdm"
    """
    return shlex.join(["protomask", *(os.fspath(word) for word in words)])
