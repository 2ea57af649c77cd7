"""Atomic, resumable checkpoints that load without running any code."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import torch
from torch import nn

from protomask import distributed
from protomask.errors import InputError
from protomask.files import read_bytes, refuse_bombs, write_atomically

__all__ = ["Saver", "load_checkpoint", "save_checkpoint", "write_atomically"]


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a dictionary of tensors, numbers, strings, lists and dictionaries."""
    # By way of memory: torch's own writer hides why it could not write.
    buffer = io.BytesIO()
    torch.save(state, buffer)

    def write(temporary: Path) -> None:
        temporary.write_bytes(buffer.getbuffer())
        _keep_previous(path)

    write_atomically(path, write)


def previous(path: Path) -> Path:
    """Tell where the checkpoint before the one at ``path`` stands."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _keep_previous(path: Path) -> None:
    """Give the checkpoint a second name before it is replaced; a kill at any moment leaves one at ``path``."""
    path = Path(path)
    if not path.is_file() or path.is_symlink():
        return
    previous(path).unlink(missing_ok=True)
    try:
        os.link(path, previous(path))
    except OSError:  # a file system without a second name for a file
        shutil.copyfile(path, previous(path))


def load_checkpoint(path: Path) -> dict | None:
    """Read the last checkpoint, None where there is none; where it is damaged the one before, with a warning.

    Raises:
        InputError: neither can be read.
    """
    path, before = Path(path), previous(Path(path))
    if not os.path.lexists(path) and not os.path.lexists(before):
        return None
    try:
        return _read_checkpoint(path)
    except InputError as error:
        try:
            found = _read_checkpoint(before)
        except InputError:
            raise error from None
        if distributed.is_first():
            print(f"protomask: {error.args[1]}; training goes on from the checkpoint before it", file=sys.stderr)
        return found


def how_to_do_without(path: Path) -> str:
    """Say what to do about a checkpoint that cannot be used."""
    return f"delete {path.parent}; a run whose network is trained does without, another one trains from the start"


def _read_checkpoint(path: Path) -> dict:
    mend = how_to_do_without(path)
    try:
        data = io.BytesIO(read_bytes(path, mend))
        with zipfile.ZipFile(data) as archive:  # torch itself does not compare the checksums
            refuse_bombs(archive)
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} differs")
        data.seek(0)
        found = torch.load(data, map_location="cpu", weights_only=True)
        if not isinstance(found, dict):
            raise ValueError("something else is in it")
        return found
    except InputError as error:
        raise _Unreadable(str(error), str(error).removesuffix(f"; {mend}")) from None
    except Exception as error:
        said = f"{path} is not a readable checkpoint ({' '.join(str(error).split())[:200] or type(error).__name__})"
        raise _Unreadable(f"{said}; {mend}", said) from error


class _Unreadable(InputError):
    """(message, message without its mend)."""

    def __str__(self) -> str:
        return self.args[0]


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

    def due(self, interrupted: bool = False) -> bool:
        """Tell whether the last checkpoint is old enough for another, or the work ends here; as the first process has
        it, the same in all."""
        if self.path is None and distributed.size() == 1:
            return interrupted
        old = self.path is not None and time.monotonic() - self._last >= 60 * self.minutes
        return distributed.from_first(old or interrupted)

    def save(self, state: dict) -> None:
        """Write a checkpoint.

        Raises:
            InputError: it cannot be written; the one before stands.
        """
        distributed.only_first(lambda: self._write(state))
        self._last = time.monotonic()

    def save_alone(self, state: dict) -> None:
        """Write a checkpoint as :meth:`save`, where the work fails and the other processes may be gone: nobody waits
        for anybody."""
        if distributed.is_first():
            self._write(state)

    def _write(self, state: dict) -> None:
        if self.path is not None:
            save_checkpoint(self.path, {**state, "network": self.network.state_dict()})
