"""A model at rest: evaluation mode and no gradients of parameters while it is explained."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

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


def require_plain(roots: Iterable[nn.Module], method: str, *, inside: bool = True) -> None:
    """Raise InputError where one of the modules is TorchScript or compiled, or holds such: nobody can look inside its
    layers.

    Args:
        method: named in the error.
        inside: look at the layers of the modules, too.
    """
    for root in roots:
        modules = list(root.modules()) if inside else [root]
        require_uncompiled(modules, method)
        if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
            raise InputError(
                f"{type(root).__name__} is TorchScript, or holds some, and {method} needs the layers of the plain "
                "module; give that one, or explain it by what needs scores alone: mdm, rise, occlusion"
            )


def require_uncompiled(modules: Iterable[nn.Module], method: str) -> None:
    """Raise InputError where ``torch.compile`` has made one of the modules: its layers are not called one by one, so
    hooks in them may see nothing.

    Args:
        method: named in the error.
    """
    for module in modules:
        inner = getattr(module, "_orig_mod", None)
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


_HOLDING_STILL = ("torch", "timm", "torchvision", "protomask", "protopnet", "xprotonet")
"""packages whose layers write to no buffer in evaluation mode"""
_NOTING = threading.RLock()
_NOTED: list[_Noted] = []
"""what is changed for a while, in the order of the changes"""


class _Noted:
    """Hold what objects were like before something was set in them by ``put``."""

    def __init__(self, put: Callable[[Any, Any], object], before: list[tuple[Any, Any]]) -> None:
        self.put, self.before = put, before

    def hand_on(self, later: Sequence[_Noted]) -> list[tuple[Any, Any]]:
        """Tell those that changed the same objects since what these were like before both; give the other objects."""
        if not later:
            return self.before
        left = {id(each): (each, before) for each, before in self.before}
        for other in later:
            if other.put is self.put:
                theirs = {id(each) for each, _ in other.before}
                other.before = [left.get(id(each), (each, before)) for each, before in other.before]
                left = {key: value for key, value in left.items() if key not in theirs}
        return list(left.values())


@contextmanager
def set_meanwhile(
    put: Callable[[Any, Any], object], value: object, note: Callable[[], list[tuple[Any, Any]]]
) -> Iterator[None]:
    """Set something in objects; on leaving, also after an exception, it is as before.

    Several threads may set the same thing in the same objects, as those that explain one model: the last one to leave
    puts back what the first one found. Whoever leaves earlier hands that on to who came next. Within one thread the
    last one that came leaves first, which costs no more than to put things back.

    Args:
        put: sets it, called with an object and what is to be there; a function of a module, known by its identity.
        value: for the time being.
        note: gives the objects, and what each is like.
    """
    with _NOTING:
        noted = _Noted(put, note())
        _NOTED.append(noted)
    try:
        with _NOTING:
            for each, _ in noted.before:
                put(each, value)
        yield
    finally:
        with _NOTING:
            place = max(place for place, each in enumerate(_NOTED) if each is noted)
            del _NOTED[place]
            for each, before in noted.hand_on(_NOTED[place:]):
                put(each, before)


def _set_mode(module: nn.Module, mode: bool) -> None:
    if module.training != mode:  # setting it anew, though it is so, would cost a third of a small network's pass
        module.training = mode


def _set_gradient(parameter: nn.Parameter, needs: bool) -> None:
    parameter.requires_grad_(needs)


def _buffers(modules: Sequence[nn.Module]) -> list[tuple[nn.Module, tuple]]:
    """Copy what modules keep that may write to it in a pass: not torch's own layers, nor ours."""
    found = []
    for module in modules:
        home = type(module).__module__.partition(".")[0]
        if module._buffers and home not in _HOLDING_STILL and not isinstance(module, torch.jit.ScriptModule):
            kept = [(name, each, each.detach().clone()) for name, each in module._buffers.items() if _is_plain(each)]
            found.append((module, tuple(kept)))
    return found


def _is_plain(buffer: Tensor | None) -> TypeGuard[Tensor]:
    """Whether it holds numbers that can be compared and written."""
    return buffer is not None and not (buffer.is_meta or buffer.is_quantized) and buffer.layout == torch.strided


def _set_buffers(module: nn.Module, kept: tuple) -> None:
    for name, each, before in kept:
        if name in module._buffers:
            module._buffers[name] = each
        if not torch.equal(each, before):
            with torch.inference_mode() if each.is_inference() else torch.no_grad():
                each.copy_(before)


def _set_cache(attributes: dict, emptied: bool) -> None:
    if emptied:
        attributes[_CACHE].clear()  # perhaps another dict by now


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules in evaluation mode; on leaving, also after an exception, each one's mode is exactly as before.

    What a module keeps between passes in evaluation mode alone, computed from its weights, is not carried over a change
    of the mode, nor out of here: see :data:`_CACHE`. Several threads may do this with the same modules: the last one to
    leave puts back what the first one found.
    """

    def caches() -> list[tuple[dict, bool]]:
        found = [(vars(module), module.training) for module in modules if _CACHE in vars(module)]
        for attributes, mode in found:
            cache = attributes[_CACHE]
            # What was learned since is not in it; and what has a history, or was made under inference_mode, can take
            # part in one backward pass at most.
            if mode or any(each.requires_grad or each.is_inference() for each in cache.values()):
                cache.clear()
        return [(attributes, not attributes[_CACHE]) for attributes, _ in found]

    def modes() -> list[tuple[nn.Module, bool]]:
        # A frozen TorchScript module has no mode: it stays in evaluation.
        return [(module, module.training) for module in modules if hasattr(module, "training")]

    with set_meanwhile(_set_cache, False, caches), set_meanwhile(_set_mode, False, modes):
        yield


@contextmanager
def frozen(explained: object) -> Iterator[None]:
    """Put every module that ``explained`` is or holds in evaluation mode, its parameters without gradient.

    On leaving, also after an exception, each module's mode, each parameter's ``requires_grad`` and what layers of other
    packages keep in buffers (a count of passes, a running mean) are exactly as before. Of several threads that explain
    the same model the last one to leave puts them back.

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

    def gradients() -> list[tuple[nn.Parameter, bool]]:
        return [(each, each.requires_grad) for each in parameters]

    with set_meanwhile(_set_gradient, False, gradients), set_meanwhile(_set_buffers, (), lambda: _buffers(modules)):
        with evaluating(modules):
            yield


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Make a module's hook that sees the passes of the thread that registers it alone: another thread may explain the
    same model at the same time."""
    here = threading.get_ident()

    def own(*given: Any) -> Any:
        return hook(*given) if threading.get_ident() == here else None

    return own
