"""The modules that a score asks, as far as its code and what it holds tell."""

from __future__ import annotations

import dis
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import CodeType, FunctionType, MethodType, ModuleType

from torch import nn

from protomask.freezing import LONGEST, held_modules

CALLED = (nn.Module, FunctionType, MethodType, functools.partial)
CONTAINERS = (list, tuple, set, frozenset, dict)


def asked_modules(asked: Callable) -> list[nn.Module]:
    """Find the root modules that a module, a bound method, an object, a partial or a function asks.

    Of functions all that they close over, have as defaults or read among their globals is looked at, and so are the
    functions among these; of an object there its own attributes and its ``__call__``, of a list what lies in it and in
    lists within. What is reached through an imported Python module, a class or another method is not seen; functions of
    torch ask nothing.
    """
    found: list[nn.Module] = []
    seen: set[int] = set()
    left: deque[object] = deque([asked])
    places = 10 * LONGEST  # of containers: who has more has data there, too
    while left:
        value = left.popleft()  # what is near comes first
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, CONTAINERS):
            places -= len(value)
            if places < 0:
                continue
        if isinstance(value, nn.Module):
            found.append(value)
        else:
            left += _reached(value)
    return held_modules([*held_modules(asked), *found])


def _reached(value: object) -> Iterable[object]:
    if isinstance(value, FunctionType):
        return () if value.__module__ and value.__module__.partition(".")[0] == "torch" else _named(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, type | ModuleType):
        return ()
    if isinstance(value, CONTAINERS):
        held = (value.values() if isinstance(value, dict) else value) if len(value) <= LONGEST else ()
        return [each for each in held if isinstance(each, (*CALLED, *CONTAINERS))]
    # The class is asked for a score: an object may make up its attributes.
    own, asking = getattr(value, "__dict__", {}).values(), (*CALLED, *CONTAINERS)
    held = [each for each in own if isinstance(each, asking) or callable(getattr(type(each), "score", None))]
    return [*held, *(vars(kind).get("__call__") for kind in type(value).__mro__)]


def _named(function: FunctionType) -> Iterator[object]:
    """Give what a function closes over, has as defaults, wraps, and reads among its globals."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not yet filled
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield vars(function).get("__wrapped__")
    for name in _globals_read(function.__code__):
        yield function.__globals__.get(name)


@functools.lru_cache(4096)
def _globals_read(code: CodeType) -> frozenset[str]:
    """Give the globals that code reads, also in functions within: ``co_names`` has the names of attributes, too."""
    read = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    return frozenset(read).union(*(_globals_read(each) for each in code.co_consts if isinstance(each, CodeType)))
