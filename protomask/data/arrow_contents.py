"""Every byte of the images in a Hugging Face ``datasets`` table, digested once and remembered."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from protomask.data.remembered import find_out
from protomask.files import text_digest

AT_ONCE = 1000
"""rows"""


class TableContent:
    """The digest of a table's images, found when it is first asked for; shared by all that show parts of the table.

    Args:
        rows: of ``datasets.Dataset``, with the column ``image`` of encoded images.
    """

    def __init__(self, rows: Any, image: str):
        self.rows, self.image = rows, image
        self._digest: str | None = None

    def digest(self) -> str:
        """Give 32 hexadecimal digits of all bytes and of where each image ends; the same however the table is cut.

        The table is read once; later the sizes and times of its files are compared with what the user's cache
        remembers.
        """
        if self._digest is None:
            files = sorted({Path(each["filename"]) for each in self.rows.cache_files})
            if files and all(file.is_file() for file in files):
                youngest = max(files, key=lambda file: max(file.stat().st_mtime_ns, file.stat().st_ctime_ns))
                told = f"tables-{_version(files, self.image, len(self.rows))}"
                found = find_out([youngest], told, lambda _: self._read())[youngest]
            else:
                found = self._read()
            self._digest = found
        return str(self._digest)

    def _read(self) -> str:
        import pyarrow
        import pyarrow.compute as compute

        content, lengths = hashlib.sha256(), hashlib.sha256()  # faster than blake2b on most processors
        for part in self.rows.with_format("arrow").iter(AT_ONCE):
            for chunk in part.column(self.image).chunks:
                images = compute.struct_field(chunk, "bytes").cast(pyarrow.large_binary())
                lengths.update(compute.fill_null(compute.binary_length(images), -1).to_numpy().astype("<i8"))
                images = images.drop_null()
                _, offsets, held = images.buffers()
                if len(images) and held is not None:
                    ends = np.frombuffer(offsets, np.int64)
                    # As they lie in the file that is mapped into memory: nothing is copied.
                    content.update(memoryview(held)[ends[images.offset] : ends[images.offset + len(images)]])
        return hashlib.sha256(content.digest() + lengths.digest()).hexdigest()[:32]


def _version(files: list[Path], column: str, rows: int) -> str:
    """Tell by size and time of change of all its files whether a table is still the same."""
    stats = [(str(file), file.stat()) for file in files]
    told = [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats]
    return text_digest(repr((told, column, rows)))
