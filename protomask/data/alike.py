"""Names of classes that are the same to the eye, or but for their case."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from protomask.errors import InputError

WAYS, CASE = "are one name written in two ways", "differ only in case"


def alike(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """List pairs of names that are hard to tell apart, and how: ``WAYS`` or ``CASE``.

    The same to the eye are letters with marks of their own or in one character, and blanks around a name, in rows or of
    other kinds.

    >>> alike(["cat", "dog", "Cat", "cat "])
    [('cat', 'Cat', 'differ only in case'), ('cat', 'cat ', 'are one name written in two ways')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_to_the_eye(_to_the_eye(name).casefold()), []).append(name)
    return [
        (first, other, WAYS if _to_the_eye(first) == _to_the_eye(other) else CASE)
        for group in groups.values()
        for place, other in enumerate(group[1:], 1)
        for first in [next((one for one in group[:place] if _to_the_eye(one) == _to_the_eye(other)), group[0])]
    ]


def like(name: str, names: Iterable[str]) -> tuple[str, str] | None:
    """Give one of ``names`` that is hard to tell from ``name``, and how; None where there is none."""
    found = [(other, how) for one in names for _, other, how in alike([name, one])]
    return min(found, key=lambda pair: pair[1] != WAYS, default=None)


def written(one: str, other: str) -> str:
    """Write two names so that they can be told apart.

    >>> written("cat", "cat ")
    "'cat' and 'cat '"
    """
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return " and ".join(f"{name!r} ({ascii(name)})" if same else repr(name) for name in (one, other))


def check_names(names: Iterable[str], source: str) -> None:
    """Raise InputError, naming ``source``, for two names that are the same to the eye."""
    for one, other, how in alike(names):
        if how == WAYS:
            raise InputError(f"{source}: the classes {written(one, other)} {how}; rename one, or put them together")


def alike_remarks(names: Iterable[str]) -> list[str]:
    """Say which classes are hard to tell apart by their names."""
    found = alike(names)
    if not found:
        return []
    one, other, how = found[0]
    more = f" (and {len(found) - 1} more such pairs)" if len(found) > 1 else ""
    return [
        f"the classes {written(one, other)} {how}{more} and are learned as different ones; put them together if they "
        "are not"
    ]


def _to_the_eye(name: str) -> str:
    shown = "".join(one for one in unicodedata.normalize("NFC", name) if unicodedata.category(one) != "Cf")
    return " ".join(shown.split())
