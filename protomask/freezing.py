"""A model at rest: evaluation mode and no gradients of parameters while it is explained."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType

import torch
from torch import nn

from protomask.errors import InputError

DEEPEST, LONGEST = 4, 1000
"""of containers within each other that are searched, and of values in one: what is larger holds data, not models"""
MACHINERY = frozenset(vars(nn.Module()))


def held_modules(explained: object) -> list[nn.Module]:
    """Find every root module that ``explained`` is or holds.

    First those that it holds directly or through another that it wraps; then those in lists, tuples, sets, dictionaries
    and ``functools.partial``, and those whose bound methods are held. What a plain function closes over is not seen: a
    copy of the function would share it.
    """
    found: list[nn.Module] = []
    seen: set[int] = set()
    left: list[object] = [explained]
    later: deque[tuple[object, int]] = deque()
    depth = 0
    while left or later:
        if left:
            value = left.pop()
        else:
            value, depth = later.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            # What lies in a list beside the network that it is a layer of is no root of its own.
            if depth and any(value is module for root in found for module in root.modules()):
                continue
            found.append(value)
        elif value is explained or callable(getattr(value, "score", None)):
            left += vars(value).values() if hasattr(value, "__dict__") else ()
            left.append(getattr(getattr(value, "score", None), "__self__", None))
        if depth < DEEPEST:
            later.extend((each, depth + 1) for each in _contents(value))
    return found


def _contents(value: object) -> Iterable[object]:
    """Give the values of a container, and what a partial, a bound method or a module holds beside its layers."""
    if isinstance(value, nn.Module):
        return [each for name, each in vars(value).items() if name not in MACHINERY]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        owner = value.__self__
        return [owner] if isinstance(owner, nn.Module) else [owner, getattr(owner, "__dict__", None)]
    if isinstance(value, list | tuple | set | frozenset | dict) and len(value) <= LONGEST:
        return list(value.values() if isinstance(value, dict) else value)
    return ()


def require_plain(roots: Iterable[nn.Module], method: str) -> None:
    """Raise InputError where one of the modules is TorchScript or compiled, or holds such: nobody can look inside its
    layers.

    Args:
        method: named in the error.
    """
    roots = list(roots)
    require_uncompiled(roots, method)
    for root in roots:
        for module in root.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise InputError(
                    f"{type(root).__name__} is TorchScript, or holds some, and {method} needs the layers of the plain "
                    "module; give that one, or explain it by what needs scores alone: mdm, rise, occlusion"
                )


def require_uncompiled(roots: Iterable[nn.Module], method: str) -> None:
    """Raise InputError where ``torch.compile`` has made one of the modules, or one within: its layers are not called
    one by one, so hooks in them may see nothing.

    Args:
        method: named in the error.
    """
    for root in roots:
        for module in root.modules():
            inner = module._modules.get("_orig_mod")
            if inner is not None or getattr(module, "_compiled_call_impl", None) is not None:
                name = type(module if inner is None else inner).__name__
                mend = "the one before .compile()" if inner is None else "its _orig_mod"
                raise InputError(
                    f"{name} is compiled, and {method} needs the layers of the plain module; give {mend}, or explain "
                    "it by what needs scores alone: mdm, rise, occlusion"
                )


_CACHE = "attention_bias_cache"
"""In it LeViT, EfficientFormer, EfficientViT and TinyViT of timm keep tensors that they compute once for evaluation
mode. Their own ``train`` forgets these, which nobody calls who sets modes one by one. What others call a cache may be
data that nothing else holds."""


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules in evaluation mode; on leaving, also after an exception, each one's mode is exactly as before.

    What a module keeps between passes in evaluation mode alone, computed from its weights, is not carried over a change
    of the mode, nor out of here: see :data:`_CACHE`.
    """
    modes = [(module, module.training) for module in modules]
    keeping = [(vars(module), mode) for module, mode in modes if _CACHE in vars(module)]
    for attributes, mode in keeping:
        cache = attributes[_CACHE]
        # What was learned since is not in it; and what has a history, or was made under inference_mode, can take
        # part in one backward pass at most.
        if mode or any(each.requires_grad or each.is_inference() for each in cache.values()):
            cache.clear()
    empty = [attributes for attributes, _ in keeping if not attributes[_CACHE]]
    try:
        for module in modules:
            if module.training:  # setting it anew, though it is so, would cost a third of a small network's pass
                module.training = False
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
        for attributes in empty:
            attributes[_CACHE].clear()  # perhaps another dict by now


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
