"""Check the content of JSON files against plain types, with a message that says where it differs.

>>> class Score(TypedDict):
...     mean: Annotated[float, Range(0, 1)]
>>> check({"mean": 0.5}, Score)
>>> check({"mean": 2.0}, Score)
Traceback (most recent call last):
ValueError: mean is 2.0; it must be a number from 0 to 1
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from typing_extensions import Required, TypedDict, get_type_hints, is_typeddict  # Required is not in Python 3.10

__all__ = ["Annotated", "Range", "Required", "TypedDict", "check"]


class Range(NamedTuple):
    """Least and greatest value of a number, or length of a list or text."""

    low: float = -math.inf
    high: float = math.inf


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def check(value: Any, kind: Any, where: str = "") -> None:
    """Compare ``value`` with a type: int, float (finite), str, bool, None, Any, unions, dict[str, X], list[X], tuples,
    dataclasses (their fields and no others), TypedDicts (others may stand beside their keys), Annotated with a Range.

    Raises:
        ValueError: what differs, and what it must be.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin is Annotated:
        check(value, inner[0], where)
        _check_range(value, inner[1], where, inner[0])
    elif origin in (Union, types.UnionType):
        _check_union(value, inner, where)
    elif dataclasses.is_dataclass(kind) or is_typeddict(kind):
        _check_fields(value, kind, where)
    elif origin is dict:
        _expect(isinstance(value, dict), value, "an object", where)
        for name, each in value.items():
            check(each, inner[1], _below(where, name))
    elif origin is list or (origin is tuple and inner[-1] is Ellipsis):
        _check_items(value, inner[0], where)
    elif origin is tuple:
        _expect(isinstance(value, list) and len(value) == len(inner), value, f"a list of {len(inner)}", where)
        for place, (each, item) in enumerate(zip(value, inner)):
            check(each, item, f"{where}[{place}]")
    elif kind in (None, type(None)):
        _expect(value is None, value, "null", where)
    else:
        _check_plain(value, kind, where)


def _check_plain(value: Any, kind: type, where: str) -> None:
    if kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _expect(fits, value, _WORDS[kind], where)


def _check_range(value: Any, allowed: Range, where: str, kind: Any) -> None:
    number = len(value) if isinstance(value, (str, list, dict)) else value
    # A whole number may stand where any number fits.
    what = "of length " if number is not value else f"{_WORDS[float if kind is float else type(value)]} "
    if number is not None and not allowed.low <= number <= allowed.high:
        _expect(False, value, f"{what}from {allowed.low} to {allowed.high}", where)


def _check_union(value: Any, kinds: tuple, where: str) -> None:
    if value is None and type(None) in kinds:
        return
    others = [kind for kind in kinds if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return check(value, kind, where)
        except ValueError:
            continue
    check(value, others[-1], where)


def _check_items(value: Any, kind: Any, where: str) -> None:
    _expect(isinstance(value, list), value, "a list", where)
    for place, each in enumerate(value):
        check(each, kind, f"{where}[{place}]")


def _check_fields(value: Any, kind: Any, where: str) -> None:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        nothing = dataclasses.MISSING
        needed = {field.name for field in dataclasses.fields(kind) if field.default is nothing is field.default_factory}
        unknown = sorted(value.keys() - hints.keys())
        if unknown:
            raise ValueError(f"{_below(where, unknown[0])} is unknown here")
    else:
        # Annotations that are strings, as after `from __future__ import annotations`, hide Required from TypedDict
        # itself.
        needed = kind.__required_keys__ | {name for name, hint in hints.items() if get_origin(hint) is Required}
    missing = sorted(needed - value.keys())
    if missing:
        raise ValueError(f"{_below(where, missing[0])} is missing")
    for name, hint in hints.items():
        if name in value:
            check(value[name], get_args(hint)[0] if get_origin(hint) is Required else hint, _below(where, name))


def _below(where: str, name: str) -> str:
    name = str(name)[:60]
    return f"{where}.{name}" if where else name


def _expect(fits: bool, value: Any, words: str, where: str) -> None:
    if not fits:
        found = repr(value)
        found = found if len(found) <= 60 else found[:57] + "..."
        raise ValueError(f"{where or 'it'} is {found}; it must be {words}")
