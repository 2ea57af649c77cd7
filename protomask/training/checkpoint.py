"""Atomic, resumable checkpoints that load without running any code."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from protomask import distributed
from protomask.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
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
        _flush_folder(path.parent)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass  # a read-only folder: nothing of ours is in it
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --output"
        ) from error


def _flush_folder(folder: Path) -> None:
    """Makes a renamed entry of a folder last through a power cut, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(path: Path, state: dict) -> None:
    """Writes a dictionary of tensors, numbers, strings, lists and dictionaries."""
    # By way of memory: torch's own writer hides why it could not write.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


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
        raise InputError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to train from the start"
        ) from error


class Saver:
    """Writes the checkpoints of a training run, in the first process.

    Args:
        path: None writes nothing.
        network: whose weights go into every checkpoint.
        minutes: least time between two checkpoints within an epoch.
    """

    def __init__(self, path: Path | None, network: nn.Module, minutes: float) -> None:
        self.path, self.network, self.minutes = path, network, minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another; by the first process's clock, the same in all."""
        if self.path is None:
            return False
        return distributed.from_first(time.monotonic() - self._last >= 60 * self.minutes)

    def save(self, state: dict) -> None:
        """Raises:
        InputError: it cannot be written; the one before stands.
        """
        if self.path is not None:
            distributed.only_first(lambda: save_checkpoint(self.path, {**state, "network": self.network.state_dict()}))
        self._last = time.monotonic()
