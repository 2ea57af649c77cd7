"""Rows of numbers that need not fit into memory: written once to a temporary file, read again in chunks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from protomask.errors import InputError

COPIES = 5
"""of a chunk that work on it may need at a time"""


class StoredRows:
    """Keep a table (N, P) of float32 in a temporary file, which ends with it.

    Args:
        columns: P.
        memory: megabytes that reading it, and working on what was read, may take.
    """

    def __init__(self, columns: int, memory: float) -> None:
        self.columns, self.count = columns, 0
        self.rows = max(1, int(memory * 2**20 / (4 * columns * COPIES)))
        self._file = tempfile.TemporaryFile(prefix="protomask-", buffering=0)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> StoredRows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def append(self, rows: Tensor) -> None:
        """Write rows (n, P) behind those that are there.

        Raises:
            InputError: no room for them.
        """
        data = np.ascontiguousarray(rows.detach().float().cpu().numpy()).data.cast("B")
        try:
            self._file.seek(0, 2)
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise InputError(
                f"the similarities of the last layer cannot be kept in {tempfile.gettempdir()} ({error.strerror}); "
                "make room there, name another folder by TMPDIR, or allow more memory="
            ) from error
        self.count += len(rows)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Read all rows in order: which ones, and (n, P). A chunk is overwritten by the next one."""
        buffer = np.empty((min(self.rows, max(self.count, 1)), self.columns), dtype=np.float32)
        self._file.seek(0)
        for start in range(0, self.count, len(buffer)):
            part = buffer[: min(len(buffer), self.count - start)]
            left = part.data.cast("B")
            while left:
                read = self._file.readinto(left)
                if not read:
                    raise InputError("the temporary file of the last layer's similarities was cut; start again")
                left = left[read:]
            yield slice(start, start + len(part)), torch.from_numpy(part)
