"""What the pickles of ``torch.save`` refer to: storages outside of them, and the functions that rebuild tensors.

Formats: known, from torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from protomask.importing.inert_pickle import Inert, Name, UnreadablePickle

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """Numbers outside the pickle: where they are, of which kind and how many."""

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True)
class Stored:
    """A tensor that is not read yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def find_storage(reference: Any) -> Any:
    """Give the storage that a persistent reference stands for.

    In legacy files also ("module", class, file, source), of which only the class's name is kept.
    """
    if not isinstance(reference, tuple) or len(reference) < 2:
        raise UnreadablePickle("it refers to something outside that is no storage")
    if reference[0] == "module":
        return reference[1]
    if reference[0] != "storage" or len(reference) < 5 or not isinstance(reference[1], Name):
        raise UnreadablePickle("it refers to something outside that is no storage")
    kind, key, count = reference[1].name, reference[2], reference[4]
    if kind not in _DTYPES or not isinstance(key, str) or not _whole(count):
        raise UnreadablePickle(f"a storage of kind {reference[1]}")
    view = reference[5] if len(reference) > 5 else None
    if view is None:
        return Storage(key, _DTYPES[kind], count)
    if not isinstance(view, tuple) or len(view) != 3 or not _whole(view[1]) or not _whole(view[2]):
        raise UnreadablePickle("a malformed view of a storage")
    return Storage(key, _DTYPES[kind], view[2], view[1])


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _stored(storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *_) -> Stored:
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(storage, Storage) or not all(_whole(number) for number in numbers):
        raise UnreadablePickle("a malformed tensor")
    return Stored(storage, offset, size, stride)


def _first(value: Any = None, *_) -> Any:
    return value


def _typed(maker: Any = None, kind: Any = None, arguments: Any = (), *_) -> Any:
    """Give, for a tensor of a subclass (a parameter with attributes), the plain tensor in it."""
    known = MAKERS.get(maker) if isinstance(maker, Name) else None
    return known(*arguments) if known and isinstance(arguments, tuple) else Inert(maker, (kind, arguments))


def _ordered(items: Any = (), *_) -> dict:
    """Make an ordered dictionary, from pairs as old Pythons wrote them; usually it is filled afterwards."""
    pairs = items if isinstance(items, list) else []
    return {
        pair[0]: pair[1]
        for pair in pairs
        if isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)
    }


MAKERS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _stored,
    Name("torch._utils", "_rebuild_tensor"): _stored,
    Name("torch._utils", "_rebuild_parameter"): _first,
    Name("torch._utils", "_rebuild_parameter_with_state"): _first,
    Name("torch._tensor", "_rebuild_from_type_v2"): _typed,
    Name("torch.nn.parameter", "Parameter"): _first,
    Name("torch", "Size"): _first,
    Name("collections", "OrderedDict"): _ordered,
}
"""what stands for the functions and classes that torch's pickles name"""
