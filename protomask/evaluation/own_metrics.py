"""What tells a metric from others of its name, as when somebody changes one of their own."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from protomask.code_digests import code_of_kind, digest_of
from protomask.evaluation import catalogue
from protomask.function_digests import compiled_form
from protomask.held_contents import held_contents
from protomask.localizers.identity import identity_of


def told_by(measure: Callable[[Any], Any]) -> str | None:
    """Digest what decides the values of a metric's ``measure``.

    Of a function that is what it does, its defaults and the code of its file or package; the file of the catalogue's
    own is for the caller to tell. Anything else is told as a localizer is.

    Returns:
        None where nobody can tell: a function that closes over something, code in no file (as in a notebook), an object
        without a repr of its own, or one that holds something unknown.
    """
    if not isinstance(measure, FunctionType):
        identity = identity_of(measure)
        return None if identity is None else digest_of(identity)
    given = (measure.__defaults__, measure.__kwdefaults__)
    held = held_contents(given)
    code = "" if measure.__globals__ is vars(catalogue) else code_of_kind(measure)
    if measure.__closure__ or held is None or code is None or " at 0x" in repr(given):
        return None
    return digest_of([measure.__qualname__, code, repr(compiled_form(measure.__code__)), repr(given), held])
