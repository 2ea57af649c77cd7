"""What an object of somebody else's holds that its repr may hide: weights, tensors and arrays."""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from protomask.code_digests import LIBRARIES, code_of_kind, is_foreign, top_of
from protomask.fingerprints import bytes_of, fingerprint
from protomask.freezing import MACHINERY, held_modules
from protomask.function_digests import compiled_form, name_of_function, written_in_passes

PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, range, type, PurePath, enum.Enum),
    *(np.generic, np.dtype, torch.dtype, torch.device),
)
"""kinds whose repr says all"""
PASSING = frozenset({"attention_bias_cache", "fused_attn", "pretrained_cfg", "default_cfg"})
"""attributes of timm's layers that no score depends on but for rounding: a cache, a choice of this machine, and where
weights were fetched from"""
COMPILED = ("_torchdynamo", "_compiled_call_impl")
"""how attributes begin that torch.compile sets, which no score depends on: some say where something lies in memory"""
SAYING = (logging.Logger, logging.LoggerAdapter)
"""what messages go to"""
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)
OPAQUE = (torch.jit.ScriptModule, torch.fx.GraphModule)
"""modules whose layers are made of code that they carry along"""


def held_contents(value: object) -> str | None:
    """Digest the contents of every module, tensor and array that ``value`` is or holds.

    They are found in fields and attributes, lists, tuples, sets and dictionaries; of a module, all that its layers hold
    counts. Objects of this package say all in their repr; of what they wrap as ``localizer``, that is looked at.

    The code of held kinds that are neither of this package nor of a library belongs to it.

    Returns:
        Empty without any; None where something is held of which nobody knows what it depends on.
    """
    told: dict[int, object] = {id(type(value)): type(value)}  # its own code is for the caller to tell
    try:
        found = list(_contents(value, told))
    except _Unknown:
        return None
    return hashlib.blake2b("\0".join(found).encode(), digest_size=8).hexdigest() if found else ""


def contents_of_scores(explained: object, *, opened: bool, foreign_alone: bool) -> list[str] | None:
    """Give what scores depend on beside the weights and the repr of the modules that ``explained`` is or holds.

    Args:
        opened: whether the attributes of ``explained`` itself count, too, which its repr or settings do not tell.
        foreign_alone: whether the layers of this package and of libraries are told otherwise.

    Returns:
        None where something is held of which nobody knows what it depends on.
    """
    seen: dict[int, object] = {}
    found: list[str] = []
    try:
        for root in held_modules(explained):
            found += _of_layers(root, seen, foreign_alone)
        if opened and not isinstance(explained, nn.Module):
            seen[id(explained)] = explained
            found += _code(type(explained), seen)
            state = _state(explained)
            if isinstance(state, dict):
                passing = written_in_passes(type(explained))
                state = {name: held for name, held in state.items() if name not in passing}
            found += _contents(state, seen, hidden=True)
    except _Unknown:
        return None
    return found


class _Unknown(Exception):
    """An object whose content nobody can tell."""


def _contents(value: Any, seen: dict[int, object], hidden: bool = False) -> Iterator[str]:
    """Give what ``value`` holds; where it is ``hidden`` in a module, whose repr does not show it, plain values too."""
    if isinstance(value, PLAIN):
        if hidden and not isinstance(value, torch.device):
            yield repr(value)
        return
    if id(value) in seen or isinstance(value, SAYING):
        return
    seen[id(value)] = value  # held, so that no other object gets its id meanwhile
    kind = type(value)
    if isinstance(value, nn.Module):
        yield from _of_module(value, seen)
    elif isinstance(value, Tensor):
        yield _of_tensor(value)
    elif isinstance(value, np.ndarray):
        yield _of_array(value)
    elif isinstance(value, dict | SimpleNamespace):
        yield from _named(value if isinstance(value, dict) else vars(value), seen, hidden)
    elif isinstance(value, list | tuple):
        yield from _named(dict(enumerate(value)), seen, hidden)
    elif isinstance(value, set | frozenset):
        yield from sorted(each for one in value for each in _contents(one, seen, hidden))
    elif hidden and isinstance(value, partial):
        yield from _named({"": value.func, **dict(enumerate(value.args)), **value.keywords}, seen, hidden)
    elif isinstance(value, ModuleType):
        yield value.__name__
    elif hidden and isinstance(value, torch.Generator):
        yield f"seed {value.initial_seed()}"  # not its state, which passes change
    elif hidden and isinstance(value, FUNCTIONS):
        yield from _of_function(value, seen)
    elif hidden and isinstance(value, MethodType):
        yield from _of_method(value, seen)
    elif kind.__module__.startswith("protomask."):
        if hidden:
            yield _shown(value)
        yield from _contents(getattr(value, "localizer", None), seen, hidden)
    elif is_dataclass(value):
        yield from _code(kind, seen)
        yield from _named({each.name: getattr(value, each.name, None) for each in fields(value)}, seen, hidden)
    else:
        yield from _code(kind, seen)
        yield from _contents(_state(value), seen, hidden)


def _code(kind: type, seen: dict[int, object]) -> Iterator[str]:
    """Give the code of a kind that is somebody's own, once."""
    if id(kind) in seen or not is_foreign(kind):
        return
    seen[id(kind)] = kind
    code = code_of_kind(kind)
    if code is None:
        raise _Unknown
    yield f"{kind.__qualname__} of {code}"


def _of_function(value: Any, seen: dict[int, object]) -> Iterator[str]:
    """Tell a function of torch, Python or this package by its name, one of somebody's own by its code.

    What a function closes over is looked at by nobody.
    """
    named = name_of_function(value)
    if named is not None:
        yield named
        return
    if not isinstance(value, FunctionType) or value.__closure__ or not is_foreign(value):
        raise _Unknown
    code = code_of_kind(value)
    if code is None:
        raise _Unknown
    # Functions of one file that are called alike, as those without a name are, differ in what they do.
    yield f"{value.__qualname__} of {code} {_digest('', repr(compiled_form(value.__code__)).encode())}"
    yield from _named({"defaults": value.__defaults__, "keywords": value.__kwdefaults__}, seen, hidden=True)


def _of_method(value: MethodType, seen: dict[int, object]) -> Iterator[str]:
    """Tell a bound method by its name and its owner: by the place of an owner that was come across before."""
    owner, function = value.__self__, value.__func__
    kind = owner if isinstance(owner, type) else type(owner)
    if any(each is function for base in kind.__mro__ for each in vars(base).values()) or isinstance(owner, type):
        yield function.__qualname__  # the code is that of the owner
    else:
        yield from _of_function(function, seen)
    if id(owner) in seen:
        yield f"of {list(seen).index(id(owner))}"
        return
    yield from _code(kind, seen)
    yield from _contents(owner, seen, hidden=True)


def _shown(value: object) -> str:
    said = repr(value)
    if " at 0x" in said:
        raise _Unknown
    return said


def _state(value: object) -> Any:
    """Give the attributes of an object that Python's own code made: what is written in C may hide its state."""
    if type(value).__reduce__ is not object.__reduce__:
        raise _Unknown
    try:
        return object.__reduce_ex__(value, 2)[2]
    except Exception as error:  # whatever a class of somebody else's raises
        raise _Unknown from error


def _of_module(value: nn.Module, seen: dict[int, object]) -> Iterator[str]:
    """Weights, and all that its layers hold beside them: its repr shows little of it."""
    yield fingerprint(value) or repr(value)
    yield from _of_layers(value, seen)


def _of_layers(root: nn.Module, seen: dict[int, object], foreign_alone: bool = False) -> Iterator[str]:
    layers = dict(root.named_modules())
    new = {path: layer for path, layer in layers.items() if layer is root or id(layer) not in seen}
    seen.update((id(layer), layer) for layer in layers.values())  # one that is also in an attribute's list is told
    written = {kind: written_in_passes(kind) for kind in set(map(type, new.values()))}
    for path, layer in new.items():
        kind = type(layer)
        if foreign_alone and not is_foreign(kind):
            continue
        yield from _code(kind, seen)
        if isinstance(layer, OPAQUE):
            with suppress(AttributeError, RuntimeError):  # of layers without a forward
                yield f"{path}: {layer.code}"
            continue
        if "_orig_mod" in layer._modules and not is_foreign(kind):
            continue  # what torch.compile has put around a layer, which is told next
        passing = MACHINERY | PASSING | written[kind]
        for name, held in vars(layer).items():
            if name not in passing and not name.startswith(COMPILED):
                try:
                    told = list(_named({name: held}, seen, hidden=True))
                except _Unknown:
                    # What a library's own layers hold beside values, such as what compiled them, stays as its code.
                    if (
                        is_foreign(kind)
                        or top_of(held if hasattr(held, "__qualname__") else type(held)) not in LIBRARIES
                    ):
                        raise
                    continue
                yield from (f"{path}.{each}" for each in told)


def _named(values: dict, seen: dict[int, object], hidden: bool) -> Iterator[str]:
    """Give the contents of values by name, so that two that change places are noticed."""
    for name, value in values.items():
        for each in _contents(value, seen, hidden):
            yield f"{name!r}: {each}"


def _of_array(value: np.ndarray) -> str:
    if value.dtype.hasobject:
        raise _Unknown
    return _digest(f"{value.dtype} {value.shape}", np.ascontiguousarray(value).tobytes())


def _of_tensor(value: Tensor) -> str:
    if value.is_meta or value.layout != torch.strided:
        raise _Unknown
    return _digest(f"{value.dtype} {tuple(value.shape)}", b"".join(bytes_of(value.as_subclass(Tensor))))


def _digest(said: str, content: bytes) -> str:
    return hashlib.blake2b(said.encode() + content, digest_size=8).hexdigest()
