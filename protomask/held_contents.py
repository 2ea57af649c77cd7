"""What an object of somebody else's holds that its repr may hide: weights, tensors and arrays."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from protomask.fingerprints import bytes_of, fingerprint
from protomask.freezing import MACHINERY

PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, range, type, PurePath, enum.Enum),
    *(np.generic, np.dtype, torch.dtype, torch.device),
)
"""kinds whose repr says all"""
LIBRARIES = ("torch", "torchvision", "timm", "transformers")


def held_contents(value: object) -> str | None:
    """Digest the contents of every module, tensor and array that ``value`` is or holds.

    They are found in fields and attributes, lists, tuples, sets and dictionaries; of a module, all that its layers hold
    counts. Objects of this package say all in their repr; of what they wrap as ``localizer``, that is looked at.

    Returns:
        Empty without any; None where something is held of which nobody knows what it depends on.
    """
    try:
        found = list(_contents(value, {}))
    except _Unknown:
        return None
    return hashlib.blake2b("\0".join(found).encode(), digest_size=8).hexdigest() if found else ""


class _Unknown(Exception):
    """An object whose content nobody can tell."""


def _contents(value: Any, seen: dict[int, object], hidden: bool = False) -> Iterator[str]:
    """Give what ``value`` holds; where it is ``hidden`` in a module, whose repr does not show it, plain values too."""
    if isinstance(value, PLAIN):
        if hidden:
            yield repr(value)
        return
    if id(value) in seen:
        return
    seen[id(value)] = value  # held, so that no other object gets its id meanwhile
    kind = type(value)
    if isinstance(value, nn.Module):
        yield from _of_module(value, seen)
    elif isinstance(value, Tensor):
        yield _of_tensor(value)
    elif isinstance(value, np.ndarray):
        yield _of_array(value)
    elif isinstance(value, dict):
        yield from _named(value, seen, hidden)
    elif isinstance(value, list | tuple):
        yield from _named(dict(enumerate(value)), seen, hidden)
    elif isinstance(value, set | frozenset):
        yield from sorted(each for one in value for each in _contents(one, seen, hidden))
    elif hidden and isinstance(value, partial):
        yield from _named({"": value.func, **dict(enumerate(value.args)), **value.keywords}, seen, hidden)
    elif hidden and _is_of_a_library(value):
        yield f"{value.__module__}.{value.__qualname__}"
    elif kind.__module__.startswith("protomask."):
        if hidden:
            yield _shown(value)
        yield from _contents(getattr(value, "localizer", None), seen, hidden)
    elif is_dataclass(value):
        yield from _named({each.name: getattr(value, each.name, None) for each in fields(value)}, seen, hidden)
    else:
        yield from _contents(_state(value), seen, hidden)


def _is_of_a_library(value: Any) -> bool:
    """Tell a function that layers are made with, such as torch's relu: its code stays, and it holds nothing."""
    known = getattr(value, "__module__", None) or ""
    plain = isinstance(value, FunctionType | BuiltinFunctionType) and not getattr(value, "__closure__", None)
    return plain and known.split(".")[0] in LIBRARIES and value.__name__ == value.__qualname__


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
    layers = dict(value.named_modules())
    seen.update((id(layer), layer) for layer in layers.values())  # one that is also in an attribute's list is told
    for path, layer in layers.items():
        own = {name: held for name, held in vars(layer).items() if name not in MACHINERY}
        yield from (f"{path}.{each}" for each in _named(own, seen, hidden=True))


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
