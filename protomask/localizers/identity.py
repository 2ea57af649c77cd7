"""What tells a localizer from others: its settings, its code and what it holds."""

from __future__ import annotations

import inspect

from protomask.code_digests import code_of_kind, digest_of
from protomask.held_contents import held_contents


def identity_of(localizer: object) -> list[str] | None:
    """Give what decides a localizer's maps: where one of these texts is another, so may be the maps.

    Returns:
        None where nobody can tell: it has no repr of its own, no file of code (as in a notebook), or holds something
        whose content is unknown.
    """
    if " at 0x" in repr(localizer):
        return None
    code, held = _code_of(localizer), held_contents(localizer)
    return None if code is None or held is None else [repr(localizer), code, *filter(None, [held])]


def _code_of(localizer: object) -> str | None:
    """Digest the code that the localizer is made of, and the one that it wraps."""
    own = code_of_kind(localizer if inspect.isfunction(localizer) else type(localizer))
    wrapped = getattr(localizer, "localizer", None)
    if own is None or not callable(wrapped):
        return own
    inner = _code_of(wrapped)
    return None if inner is None else digest_of([own, inner])
