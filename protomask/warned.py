"""Warnings of localizers about single maps, in the words of whoever asked for them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from protomask.errors import LowFaithfulnessWarning, NothingToKeepWarning

_MAP = re.compile(r"(?:\bimage )?\b(\d+) \(index \d+: ")
_SHOWN: dict = {}
"""what was warned of, so that Python's filters show the same once"""


@contextmanager
def named_maps(name: Callable[[int], str]) -> Iterator[None]:
    """Let warnings of localizers name a map by ``name(place)``, where they say its place among those asked for."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # the filters of the caller decide below
        yield
    for each in caught:
        message = each.message
        if issubclass(each.category, (LowFaithfulnessWarning, NothingToKeepWarning)):
            message = each.category(_MAP.sub(lambda found: f"{name(int(found[1]))} (", str(message)))
        warnings.warn_explicit(message, each.category, each.filename, each.lineno, registry=_SHOWN)
