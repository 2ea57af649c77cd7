"""Whether a run's folder still holds what the page shows: a run may be made anew there while the page is open."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from protomask.errors import InputError
from protomask.explanations.belonging import PROTOTYPES, prototypes_digest
from protomask.explanations.files import CHECKSUMS
from protomask.explanations.records import PrototypeRecord
from protomask.prototype_network import PrototypeNetwork
from protomask.run.review import ELSEWHERE
from protomask.run_folder import RunFolder, check_still_there
from protomask.suggested import command

RECORDS = "prototypes.json"


class Unchanged:
    """Compare the prototypes in a run's folder with those that were opened.

    Args:
        files: the run's folder.
        records: of the pictures that were opened.
        network: whose prototypes they show.
    """

    def __init__(self, files: RunFolder, records: Sequence[PrototypeRecord], network: PrototypeNetwork) -> None:
        self._files, self._digest = files, prototypes_digest(network)
        self._known = [_what(each.to_json()) for each in records]
        self._seen: list[tuple[int, ...]] = []
        """of the files that were found to be the same: they are read again when they were written again"""

    def check(self) -> None:
        """Raise InputError where the folder has gone, or holds other prototypes by now, or none."""
        check_still_there(self._files.folder, ELSEWHERE)
        seen = [_state(self._files / name) for name in (RECORDS, CHECKSUMS)]
        if seen != self._seen:
            self._compare()
            self._seen = seen

    @contextmanager
    def throughout(self) -> Iterator[None]:
        """Check before and after something is read: pictures are written before the records that say whose they are."""
        self.check()
        yield
        self.check()

    def _compare(self) -> None:
        folder, again = self._files.folder, command("project", self._files.folder)
        if not self._files.has(RECORDS):
            raise InputError(
                f"{folder} has no pictures of its prototypes at present; wait until protomask project, or the "
                "training, is done there, and ask again; if the run was trained anew, start protomask serve again"
            )
        rows = self._files.read(RECORDS, again)
        checksums = self._files.read(CHECKSUMS, again) if self._files.has(CHECKSUMS) else {}
        digest = checksums.get(PROTOTYPES, self._digest)  # older runs have none
        if [_what(row) for row in rows] != self._known or (self._digest is not None and digest != self._digest):
            raise InputError(
                f"the run in {folder} was made anew, and has other prototypes than this page shows; start protomask "
                "serve again"
            )


def _what(row: dict) -> list:
    """Give what tells one prototype from another; weights and maps may be made anew."""
    return [row.get("prototype"), row.get("class_name"), row.get("source"), list(row.get("location") or ())]


def _state(path: Path) -> tuple[int, ...]:
    """Tell by what a file differs from one that is written in its place; empty where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
