"""What an object of somebody else's holds that its repr may hide: weights, tensors and arrays."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from protomask.fingerprints import fingerprint
from protomask.freezing import MACHINERY

PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, range, type, PurePath, enum.Enum),
    *(np.generic, np.dtype, torch.dtype, torch.device),
)
"""kinds whose repr says all"""


def held_contents(value: object) -> str | None:
    """Digest the contents of every module, tensor and array that ``value`` is or holds.

    They are found in fields and attributes, lists, tuples, sets and dictionaries. Objects of this package say all in
    their repr; of what they wrap as ``localizer``, that is looked at.

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


def _contents(value: Any, seen: dict[int, object]) -> Iterator[str]:
    if isinstance(value, PLAIN) or id(value) in seen:
        return
    seen[id(value)] = value  # held, so that no other object gets its id meanwhile
    kind = type(value)
    if isinstance(value, nn.Module):
        yield from _of_module(value)
    elif isinstance(value, Tensor):
        yield _of_tensor(value)
    elif isinstance(value, np.ndarray):
        yield _of_array(value)
    elif isinstance(value, dict):
        yield from _named(value, seen)
    elif isinstance(value, list | tuple):
        yield from _named(dict(enumerate(value)), seen)
    elif isinstance(value, set | frozenset):
        yield from sorted(each for one in value for each in _contents(one, seen))
    elif kind.__module__.startswith("protomask."):
        yield from _contents(getattr(value, "localizer", None), seen)
    elif is_dataclass(value):
        yield from _named({each.name: getattr(value, each.name, None) for each in fields(value)}, seen)
    else:
        yield from _contents(_state(value), seen)


def _state(value: object) -> Any:
    """Give the attributes of an object that Python's own code made: what is written in C may hide its state."""
    if type(value).__reduce__ is not object.__reduce__:
        raise _Unknown
    try:
        return object.__reduce_ex__(value, 2)[2]
    except Exception as error:  # whatever a class of somebody else's raises
        raise _Unknown from error


def _of_module(value: nn.Module) -> Iterator[str]:
    """Weights, and what its layers hold beside them, as far as that is known: its repr shows little of it."""
    yield fingerprint(value) or repr(value)
    for path, layer in value.named_modules():
        for name, held in vars(layer).items():
            if name in MACHINERY:
                continue
            if isinstance(held, PLAIN):
                yield f"{path}.{name}: {held!r}"
            elif isinstance(held, Tensor):
                yield f"{path}.{name}: {_of_tensor(held)}"
            elif isinstance(held, np.ndarray):
                yield f"{path}.{name}: {_of_array(held)}"


def _named(values: dict, seen: dict[int, object]) -> Iterator[str]:
    """Give the contents of values by name, so that two that change places are noticed."""
    for name, value in values.items():
        for each in _contents(value, seen):
            yield f"{name!r}: {each}"


def _of_array(value: np.ndarray) -> str:
    if value.dtype.hasobject:
        raise _Unknown
    return _digest(f"{value.dtype} {value.shape}", np.ascontiguousarray(value).tobytes())


def _of_tensor(value: Tensor) -> str:
    if value.is_meta or value.layout != torch.strided:
        raise _Unknown
    plain = value.detach().as_subclass(Tensor).cpu().contiguous()
    return _digest(f"{value.dtype} {tuple(value.shape)}", plain.reshape(-1).view(torch.uint8).numpy().tobytes())


def _digest(said: str, content: bytes) -> str:
    return hashlib.blake2b(said.encode() + content, digest_size=8).hexdigest()
