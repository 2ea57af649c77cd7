"""What refinements forbade, kept in the run that they made, ``forbidden.json``: refining that run forbids it, too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from protomask.capabilities import ComparesPatches
from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.run_folder import RunFolder
from protomask.training.patches import Cell

FILE = "forbidden.json"
KINDS = ("cells", "outlined", "covering")


class Forbids(NamedTuple):
    """Hold cells of training images."""

    cells: tuple[Cell, ...] = ()
    """no prototype may come from what is like them"""
    outlined: tuple[Cell, ...] = ()
    """nor from these at all: people outlined them"""
    covering: tuple[Cell, ...] = ()
    """nor from these, whose patches of several cells cover a part of what people outlined"""
    at: str | None = None
    """when the last refinement ended, ISO 8601: what was outlined by then was weighed by it; None in older runs"""

    def without(self, welcome: Iterable[Cell]) -> Forbids:
        """Give the same without the cells that somebody now asks for."""
        allowed = set(welcome)
        kept = [tuple(cell for cell in kind if cell not in allowed) for kind in self.kinds]
        return Forbids(kept[0], kept[1], kept[2], self.at)

    @property
    def kinds(self) -> tuple[tuple[Cell, ...], tuple[Cell, ...], tuple[Cell, ...]]:
        """The cells of each kind, as ``KINDS`` names them."""
        return self.cells, self.outlined, self.covering


def read_forbids(files: RunFolder, network: Any, plain: AnnotatedImages | None = None) -> Forbids:
    """Read what a run's refinements forbade; nothing of a run that was not refined.

    Args:
        files: of the run.
        network: the run's.
        plain: its training images; without them they are not compared with those of the file.

    Raises:
        InputError: damaged, or of other training images.
    """
    told = files.read(FILE) if isinstance(network, ComparesPatches) else None
    if told is None:
        return Forbids()
    rows, columns = (side - part + 1 for side, part in zip(network.grid, network.prototypes.shape[2:]))
    kinds = [told.get(name, []) for name in KINDS]
    for each in (each for kind in kinds for each in kind):
        image, row, column = each["image"], each["row"], each["column"]
        position = each["position"]
        other = plain is not None and (position >= len(plain.names) or plain.names[position] != image)
        if other or row >= rows or column >= columns:
            raise InputError(
                f"{files / FILE} forbids a place in {image} that the training images do not have; give the data that "
                "the run was made with"
            )
    cells, outlined, covering = (
        tuple((each["position"], each["row"], each["column"]) for each in kind) for kind in kinds
    )
    return Forbids(cells, outlined, covering, told.get("at"))


def write_forbids(files: RunFolder, forbids: Forbids, plain: AnnotatedImages) -> None:
    """Write what is forbidden into a run, from now on."""
    content = {
        name: [_named(cell, plain) for cell in dict.fromkeys(kind)]
        for name, kind in zip(KINDS, forbids.kinds)
        if kind or name != "covering"  # none cover where patches have one cell
    }
    files.write(FILE, {**content, "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds")})


def _named(cell: Cell, plain: AnnotatedImages) -> dict:
    position, row, column = cell
    return {"image": plain.names[position], "position": position, "row": row, "column": column}
