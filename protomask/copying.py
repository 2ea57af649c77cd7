"""Whether a deep copy of a model computes by itself, or with parts of the original."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator

from torch import nn

from protomask.freezing import MACHINERY, held_modules

LONGEST = 1000
"""values of a container that are searched: what is larger holds data, no functions"""
PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def has_hooks(module: nn.Module) -> bool:
    """Tell whether anything is called beside the module."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def hooked(roots: Iterable[nn.Module]) -> bool:
    """Tell whether a module, or one within it, has hooks."""
    return any(has_hooks(module) for root in roots for module in root.modules())


def copies_whole(explained: object) -> bool:
    """Tell whether nothing that a deep copy of ``explained`` shares with it can be changed by computing.

    A copy shares its functions: a hook, or a function in an attribute, that closes over the original or over a
    dictionary for features works with these in the copy, too. False also where no module is found, since what computes
    is out of sight.
    """
    roots = held_modules(explained)
    return bool(roots) and not hooked(roots) and all(_is_plain(each) for each in _seen_by_functions(explained, roots))


def functions_see_modules(explained: object) -> bool:
    """Tell whether a function in an attribute of ``explained`` or its modules calls modules that a copy does not
    replace."""
    return any(isinstance(each, nn.Module) for each in _seen_by_functions(explained, held_modules(explained)))


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(_is_plain(each) for each in value)
    return isinstance(value, PLAIN) or type(value).__module__ == "torch" and not hasattr(value, "__dict__")


def _seen_by_functions(explained: object, roots: Iterable[nn.Module]) -> Iterator[object]:
    """Give what the functions in attributes close over, have as defaults, or, of modules, find among their globals."""
    modules = {module for root in roots for module in root.modules()}
    left: list[object] = [each for module in modules for name, each in vars(module).items() if name not in MACHINERY]
    left.append(explained)
    seen = {id(module) for module in modules}
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            found = list(_seen(value))
            yield from (each for each in found if not isinstance(each, types.FunctionType))
            left += (each for each in found if isinstance(each, types.FunctionType))
        elif isinstance(value, functools.partial):
            left += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, list | tuple | set | frozenset | dict):
            left += (value.values() if isinstance(value, dict) else value) if len(value) <= LONGEST else ()
        elif callable(getattr(value, "score", None)) and hasattr(value, "__dict__"):
            left += vars(value).values()


def _seen(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, nn.Module):
            yield value
