"""Safetensors files with a checksum of what is in them: one changed bit is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.files import read_bytes, write_atomically, write_together
from protomask.json_files import json_text

CHECKSUM = "blake2b"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, whole or not at all.

    Raises:
        InputError: they cannot be written.
    """
    data = packed(tensors)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Give the content of a file of tensors, with its checksum."""
    from safetensors.torch import save

    # Each in memory of its own: rows of an expanded tensor share theirs, which safetensors refuses.
    content = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    return save(content, {CHECKSUM: _digest(content)})


def save_described(path: Path, tensors: Mapping[str, Tensor], description: Path, content: dict) -> None:
    """Write tensors, and a JSON file that tells of them and holds their checksum as ``weights``: together or not at
    all; where a process was killed between the two, :func:`load_tensors` notices it.

    Raises:
        InputError: they cannot be written.
    """
    data = packed(tensors)
    text = json_text(description, {**content, "weights": stored_checksum(data)})
    write_together(
        {
            # First, as one that stood there may be of an older version and hold no checksum.
            description: lambda temporary: temporary.write_text(text, encoding="utf-8"),
            path: lambda temporary: temporary.write_bytes(data),
        }
    )


def load_tensors(path: Path, mend: str, *, older: bool = False, written_with: str | None = None) -> dict[str, Tensor]:
    """Read what :func:`save_tensors` wrote.

    Args:
        mend: what to do about a damaged file, the end of the message.
        older: also take a file without a checksum.
        written_with: the checksum that the JSON file of its name beside it was written with; None where it says none.

    Raises:
        InputError: missing, damaged, changed since it was written, or another one than the file beside it tells of.
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
    if expected is not None and written_with not in (None, expected):
        raise InputError(
            f"{path} belongs to another {path.with_suffix('.json').name}: one of the two was copied alone, or a "
            "command was killed between them; put both files of one network there"
        )
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
