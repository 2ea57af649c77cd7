"""Images in the rows of a Hugging Face ``datasets`` table, which stays on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.arrow_contents import AT_ONCE, TableContent
from protomask.data.decoding import decode
from protomask.data.depth import IntensityRange, check_range
from protomask.data.files import divisor_for
from protomask.data.geometry import as_boxes
from protomask.data.images import AnnotatedImages, Sample
from protomask.data.raster import FileInMemory, ImageFile
from protomask.errors import InputError

_DIGESTED = 8
"""images of each split whose content the fingerprint knows, evenly spread; of all others it knows the length"""


class ArrowImages(AnnotatedImages):
    """Read the images of a table, row by row.

    Args:
        rows: of ``datasets.Dataset``, with one column ``image`` of encoded images: ``bytes``, or ``path`` without them.
        split: its name, which begins the names of the images.
        where: what begins an error's message: the data set and the split.
        classes, labels: see :class:`AnnotatedImages`.
        image: name of the column, for errors.
        image_size: side of the network's input: photographs more than twice as large as it needs are decoded smaller.
        intensity_range: (low, high), the values of grey images of more than 8 bits that become 0 and 255.

    Raises:
        InputError: a row has no image.
    """

    def __init__(
        self,
        rows: Any,
        split: str,
        where: str,
        classes: Sequence[str],
        labels: Sequence[Any] | Tensor,
        image: str,
        *,
        image_size: int | None = None,
        intensity_range: IntensityRange | None = None,
    ):
        super().__init__(classes, labels, (f"{split}/{row:06d}" for row in range(len(rows))))
        self.rows, self.where, self.image = rows, where, image
        self.image_size, self.intensity_range = image_size, check_range(intensity_range)
        self._content = TableContent(rows, image)
        self._bytes, self._paths = self._lengths()
        spread = np.linspace(0, len(rows) - 1, min(len(rows), _DIGESTED)).round().astype(int).tolist()
        self._digests = {row: self._digest(row) for row in spread}

    def load(self, index: int) -> Sample:
        def choose(size: tuple[int, int]) -> tuple[tuple[int, int, int, int], int]:
            return (0, 0, *size), divisor_for(size, self.image_size)

        pixels, _ = decode(self._file(index), choose, self.intensity_range)
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        return {
            "image": tv_tensors.Image(image),
            "boxes": as_boxes(torch.zeros(0, 4, dtype=torch.float32), pixels.shape[:2]),
        }

    def identity(self, index: int) -> str:
        told = (int(self._bytes[index]), self._digests.get(index))
        return repr(told if self.intensity_range is None else (*told, self.intensity_range))

    def files(self, index: int) -> tuple[Path, ...]:
        return (Path(self._paths[index]),) if index in self._paths else ()

    def table_content(self) -> str:
        return self._content.digest()

    def _file(self, index: int) -> ImageFile:
        if index in self._paths:
            return Path(self._paths[index])
        return FileInMemory(f"{self.where} row {index}", self.rows[index][self.image]["bytes"])

    def _digest(self, index: int) -> str | None:
        """Digest the bytes that the table holds; of a file, its content is digested elsewhere."""
        source = self._file(index)
        return hashlib.sha256(source.content).hexdigest()[:16] if isinstance(source, FileInMemory) else None

    def _lengths(self) -> tuple[np.ndarray, dict[int, str]]:
        """Count the bytes of each row's image, 0 where there is only a path; and the paths of those."""
        import pyarrow.compute as compute

        lengths, paths, start = [np.zeros(0, np.int64)], {}, 0
        for part in self.rows.with_format("arrow").iter(AT_ONCE):
            column = part.column(self.image).combine_chunks()
            found = compute.binary_length(compute.struct_field(column, "bytes")).to_numpy(zero_copy_only=False)
            found = np.nan_to_num(found.astype(float)).astype(np.int64)
            for place in (found == 0).nonzero()[0].tolist():
                row = column[place].as_py() or {}
                if row.get("bytes") is None:
                    if not row.get("path"):
                        row_named = f"{self.where} row {start + place}"
                        raise InputError(f"{row_named}: no image in column {self.image!r}; remove the row")
                    paths[start + place] = str(row["path"])
            lengths.append(found)
            start += len(found)
        return np.concatenate(lengths), paths
