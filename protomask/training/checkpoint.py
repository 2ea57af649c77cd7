"""Atomic, resumable checkpoints that load without running any code."""

from __future__ import annotations

import io
import time
from pathlib import Path

import torch
from torch import nn

from protomask import distributed
from protomask.errors import InputError
from protomask.files import write_atomically

__all__ = ["Saver", "load_checkpoint", "save_checkpoint", "write_atomically"]


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
