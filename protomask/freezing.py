"""A model at rest: evaluation mode and no gradients of parameters while it is explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from protomask.errors import InputError


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


def require_plain(roots: Iterable[nn.Module], method: str) -> None:
    """Raise InputError where one of the modules is TorchScript, or holds some: nobody can look inside its layers.

    Args:
        method: named in the error.
    """
    for root in roots:
        for module in root.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise InputError(
                    f"{type(root).__name__} is TorchScript, or holds some, and {method} needs the layers of the plain "
                    "module; give that one, or explain it by what needs scores alone: mdm, rise, occlusion"
                )


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules in evaluation mode; on leaving, also after an exception, each one's mode is exactly as before."""
    modes = [(module, module.training) for module in modules]
    try:
        for module in modules:
            if module.training:  # setting it anew, though it is so, would cost a third of a small network's pass
                module.training = False
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


@contextmanager
def frozen(explained: object) -> Iterator[None]:
    """Put every module that ``explained`` is or holds in evaluation mode, its parameters without gradient.

    On leaving, also after an exception, each module's mode and each parameter's ``requires_grad`` are exactly as
    before.

    Raises:
        InputError: weights that were made under ``torch.inference_mode()``, through which no gradient can flow.
    """
    modules = [module for root in held_modules(explained) for module in root.modules()]
    parameters = {each for module in modules for each in module._parameters.values() if each is not None}
    if any(each.is_inference() for each in parameters):
        raise InputError(
            f"the weights of {type(modules[0]).__name__} were made under torch.inference_mode(), so they can take no "
            "part in gradients; build or load the model outside of it"
        )
    gradients = [(each, each.requires_grad) for each in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with evaluating(modules):
            yield
    finally:
        for parameter, needs in gradients:
            parameter.requires_grad_(needs)
