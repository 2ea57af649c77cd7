"""A model at rest: evaluation mode and no gradients of parameters while it is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def held_modules(explained: object) -> list[nn.Module]:
    """Find every root module that ``explained`` is or holds, directly or through another that it wraps."""
    found, seen, left = [], set(), [explained]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
        elif value is explained or callable(getattr(value, "score", None)):
            left += vars(value).values() if hasattr(value, "__dict__") else ()
            left.append(getattr(getattr(value, "score", None), "__self__", None))
    return found


@contextmanager
def frozen(explained: object) -> Iterator[None]:
    """Put every module that ``explained`` is or holds in evaluation mode, its parameters without gradient.

    On leaving, also after an exception, each module's mode and each parameter's ``requires_grad`` are exactly as
    before.
    """
    modules = [module for root in held_modules(explained) for module in root.modules()]
    modes = [(module, module.training) for module in modules]
    parameters = {each for module in modules for each in module._parameters.values() if each is not None}
    gradients = [(each, each.requires_grad) for each in parameters]
    try:
        for module in modules:
            if module.training:  # setting it anew, though it is so, would cost a third of a small network's pass
                module.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
        for parameter, needs in gradients:
            parameter.requires_grad_(needs)
