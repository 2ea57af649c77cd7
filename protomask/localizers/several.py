"""Several localizers in whatever form people give them, and each with one image at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from protomask.errors import InputError
from protomask.localizers import as_localizer, get_localizers
from protomask.localizers.base import Localizer

Localizers = str | Localizer | Iterable[str | Localizer] | Mapping[str, Localizer]
"""what :func:`as_localizers` takes"""


def as_localizers(
    given: Localizers, beside: Mapping[str, Callable[[], Localizer]] | None = None
) -> dict[str, Localizer]:
    """Give localizers by name, from names separated by commas, several of them, or localizers by name.

    Args:
        given: ``"mdm,similarity"``, ``["mdm", "similarity"]``, ``MDM(...)``, ``[MDM(...), "similarity"]`` or
            ``{"mine": MDM(...)}``; a localizer without a name is called by its class, in small letters.
        beside: further names, and what makes the localizer of each; settings may follow them, too.

    Raises:
        InputError: an unknown name, or none.
    """
    if isinstance(given, Mapping):
        if not given:
            raise InputError("localizer names none; give names separated by commas, for example mdm,similarity")
        found: dict[str, Localizer] = {}
        for name, each in given.items():
            made = (
                [as_localizer(each)]
                if callable(each) or not isinstance(each, Iterable)
                else list(get_localizers(each, beside).values())
            )
            if len(made) != 1:
                raise InputError(f"{name!r} stands for {len(made)} localizers ({each}); give one for each name")
            found[str(name)] = made[0]
        return found
    if isinstance(given, str):
        return get_localizers(given, beside)
    found = {}
    in_words: set[str] = set()
    for each in list(given) if isinstance(given, Iterable) and not callable(given) else [given]:
        if isinstance(each, str):
            new = get_localizers(each, beside)
            taken = found.keys() & new.keys() - in_words  # named twice in words it is the same one
            in_words |= new.keys()
        else:
            new = {type(each).__name__.lower(): as_localizer(each)}
            taken = found.keys() & new.keys()
        if taken:
            raise InputError(f"two localizers are called {min(taken)}; name them: {{'one': ..., 'other': ...}}")
        found |= new
    return found or get_localizers("", beside)


def one_at_a_time(method: Localizer) -> Localizer:
    """Give the method with a batch size of 1 wherever it has one, for a model that takes one image at a time."""
    if not dataclasses.is_dataclass(method):
        return method
    changes = {}
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if field.name == "batch_size":
            changes[field.name] = 1
        elif field.name == "runtime":
            changes[field.name] = dataclasses.replace(value, batch_size=1)
    return dataclasses.replace(method, **changes)
