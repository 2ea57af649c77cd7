"""Safetensors files with a checksum of what is in them: one changed bit is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.files import read_bytes, write_atomically

CHECKSUM = "blake2b"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, whole or not at all.

    Raises:
        InputError: they cannot be written.
    """
    from safetensors.torch import save

    # Each in memory of its own: rows of an expanded tensor share theirs, which safetensors refuses.
    content = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    data = save(content, {CHECKSUM: _digest(content)})
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def load_tensors(path: Path, mend: str, *, older: bool = False) -> dict[str, Tensor]:
    """Read what :func:`save_tensors` wrote.

    Args:
        mend: what to do about a damaged file, the end of the message.
        older: also take a file without a checksum.

    Raises:
        InputError: missing, damaged, or changed since it was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path, mend)
    try:
        tensors, expected = load(data), stored_checksum(data)
        if expected is not None and expected != _digest(tensors):
            raise ValueError("its checksum differs: it changed after it was written")
        if expected is None and not older:
            raise ValueError("it has no checksum")
    except (SafetensorError, ValueError, KeyError, RuntimeError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged ({reason}); {mend}") from error
    return tensors


def stored_checksum(data: bytes) -> str | None:
    """Give the checksum in the head of a safetensors file; None without one."""
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return head.get("__metadata__", {}).get(CHECKSUM)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
