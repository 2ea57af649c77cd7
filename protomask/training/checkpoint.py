"""Atomic, resumable checkpoints that load without running any code."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from protomask.errors import InputError


def write_atomically(path: Path, write) -> None:
    """Calls ``write(temporary_path)``, flushes it to the disk, and renames it to ``path``: whole or not at all.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; a file that stood at ``path`` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise InputError(f"cannot write {path}: {error}; free space or choose another --output") from error


def save_checkpoint(path: Path, state: dict) -> None:
    """Writes a dictionary of tensors, numbers, strings, lists and dictionaries."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict | None:
    """The last checkpoint, or None where there is none.

    Raises:
        InputError: the file is no checkpoint of ours.
    """
    if not Path(path).exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to train from the start") from error
