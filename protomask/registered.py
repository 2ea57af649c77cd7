"""What other packages register by their entry points, loaded."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from protomask.errors import InputError


def load_registered(point: EntryPoint, what: str, make: Callable[[Any], Any] = lambda found: found) -> Any:
    """Load an entry point.

    Args:
        what: it is, as errors call it: ``"network"``.
        make: makes of what was found what is wanted.

    Raises:
        InputError: it cannot be loaded, for whatever reason.
    """
    try:
        return make(point.load())
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{what} {point.name!r} ({point.value}) cannot be loaded: {reason}; "
            "mend or uninstall the package that registers it"
        ) from error
