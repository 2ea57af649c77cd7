"""What the scripts do about options that cannot be: one line on standard error; light, since some measure memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

from protomask.errors import InputError


def exit_code(name: str, work: Callable[[], object]) -> int:
    """0, or 2 and one line on standard error where the input is bad."""
    try:
        work()
    except InputError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    return 0


def check_counts(options: argparse.Namespace, names: Iterable[str], least: int = 1) -> None:
    """InputError where one of these options, as Python writes them, is given and below ``least``."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} is {value}; give at least {least}")
