"""The training log for TensorBoard (``--tensorboard``; ``pip install tensorboard``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protomask.errors import InputError


class Board:
    """Writes every number of the log's rows as a scalar ``stage/name``, at the epoch of the stage, or at the row's
    number where it has no epoch.

    Called with all rows so far, as :func:`protomask.training.train` calls its ``log``; each row is written once. A
    resumed run writes its earlier rows again, at the same steps.

    Args:
        folder: for TensorBoard's files.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("tensorboard needs TensorBoard; install it with: pip install tensorboard") from error
        self._writer = SummaryWriter(str(folder))
        self._written = 0

    def __call__(self, rows: Sequence[dict]) -> None:
        for number, row in enumerate(rows[self._written :], self._written + 1):
            stage = row["stage"].replace(" ", "_")
            for name, value in row.items():
                if name not in ("stage", "epoch") and isinstance(value, (int, float)):
                    self._writer.add_scalar(f"{stage}/{name}", value, row.get("epoch", number))
        self._written = len(rows)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
