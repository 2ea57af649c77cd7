"""What functions are told by: their names, what they do, and what a pass of a module writes."""

from __future__ import annotations

import dis
import sys
from types import BuiltinFunctionType, CodeType, MethodDescriptorType, ModuleType, WrapperDescriptorType
from typing import Any

from torch import nn

from protomask.code_digests import is_foreign

PASSES = ("forward", "score", "logits", "judge_score")


def name_of_function(value: Any) -> str | None:
    """Name a function that its name tells: one of a library's own, or of Python's, and found by it."""
    if isinstance(value, MethodDescriptorType | WrapperDescriptorType):  # as Tensor.relu
        return None if is_foreign(value.__objclass__) else f"{value.__objclass__.__module__}.{value.__qualname__}"
    if is_foreign(value):
        return None
    name = f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, BuiltinFunctionType):
        owner: object = value.__self__
        return name if owner is None or isinstance(owner, ModuleType) else None
    home, called = value.__module__, value.__name__
    # Under its name torch keeps some of its own that close over others, as max_pool2d of torch.nn.functional.
    if getattr(sys.modules.get(home), called, None) is value:
        return f"{home}.{called}"
    return None if "<" in value.__qualname__ else name  # a method, not one made within a function or without a name


def compiled_form(code: CodeType) -> list[object]:
    """Give what a function does, in an order that is the same in all processes."""
    constants = [
        compiled_form(each)
        if isinstance(each, CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]
    return [code.co_code, code.co_names, code.co_varnames, constants]


def written_in_passes(kind: type) -> frozenset[str]:
    """Name the attributes that a pass itself sets, in whatever methods it calls: what it found, or has ready for the
    next one."""
    kinds = [each for each in kind.__mro__ if each not in (nn.Module, object)]
    left, called, written = [*PASSES], {"__init__"}, set()
    while left:
        name = left.pop()
        if name in called:
            continue
        called.add(name)
        for code in (getattr(vars(each).get(name), "__code__", None) for each in kinds):  # what super() calls, too
            if code is not None:
                written |= {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_ATTR"}
                left += code.co_names
    return frozenset(written)
