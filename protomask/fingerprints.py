"""Which weights a model has, in a few digits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from protomask.freezing import held_modules


def fingerprint(explained: object, *, saved_alone: bool = False) -> str | None:
    """Digest to 16 hexadecimal digits the kind and every weight of the modules that ``explained`` is or holds; None
    without any.

    Buffers that are not saved count, too: the scores depend on them.

    Args:
        saved_alone: leave these out, as older versions did, whose fingerprints files have.
    """
    digest, count = hashlib.blake2b(repr(type(explained)).encode(), digest_size=8), 0
    for module in held_modules(explained):
        digest.update(repr(module).encode())
        for key, value in _weights(module, saved_alone):
            digest.update(key.encode())
            for part in bytes_of(value):
                digest.update(part)
            count += 1
    return digest.hexdigest() if count else None


def _weights(module: nn.Module, saved_alone: bool) -> Iterator[tuple[str, object]]:
    saved = module.state_dict()
    yield from saved.items()
    if saved_alone:
        return
    for key, buffer in module.named_buffers(remove_duplicate=False):
        if key not in saved:
            yield key, buffer


def bytes_of(value: object) -> Iterator[bytes]:
    """Give what is to be digested of an entry of a state: a tensor, or whatever a module adds to it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield repr(key).encode()
            yield from bytes_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from bytes_of(each)
    elif not isinstance(value, Tensor) or is_lazy(value) or value.is_meta:
        yield repr(value).encode()
    elif value.layout != torch.strided:
        sparse = value.detach().to_sparse_coo().coalesce()
        yield str(tuple(sparse.shape)).encode()
        yield from bytes_of([sparse.indices(), sparse.values()])
    elif value.is_quantized:
        yield str(value.dtype).encode()
        yield from bytes_of([value.int_repr(), value.dequantize()])  # the latter for its scales
    else:
        yield str(value.dtype).encode()
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
