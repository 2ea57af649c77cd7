"""TIFF files of kinds that Pillow does not write: planes, signed bytes, white that is zero, palettes of few bits."""

import struct
import zlib
from pathlib import Path

import numpy as np

_FORMATS = {"u": 1, "i": 2, "f": 3}
PALETTE, PLANES, SAMPLE_FORMAT = 320, 284, 339


def write_tiff(
    path: Path,
    planes: np.ndarray,
    photometric: int,
    *,
    planar: bool = False,
    deflate: bool = False,
    order: str = "<",
    tags: dict[int, list[int]] | None = None,
) -> Path:
    """Write (C, H, W) numbers of one kind as a TIFF file.

    Args:
        planes: one plane per sample.
        photometric: 0 where white is zero, 1 black, 2 RGB, 3 palette.
        planar: planes one after the other, in two strips each (deflated: one).
        order: "<" or ">", which byte is first.
        tags: others, or in place of what is written here.
    """
    count, height, width = planes.shape
    data = planes.astype(planes.dtype.newbyteorder(order))
    rows = height if deflate else -(-height // 2)
    each = [plane[..., None] for plane in data] if planar else [data.transpose(1, 2, 0)]
    strips = [part[top : top + rows].tobytes() for part in each for top in range(0, height, rows)]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    fields = {
        256: [width],
        257: [height],
        258: [8 * planes.dtype.itemsize] * count,
        259: [8 if deflate else 1],
        262: [photometric],
        273: [0] * len(strips),
        277: [count],
        278: [rows],
        279: [len(strip) for strip in strips],
        PLANES: [2 if planar else 1],
        SAMPLE_FORMAT: [_FORMATS[planes.dtype.kind]] * count,
        **(tags or {}),
    }
    sizes = {tag: 4 * len(values) if len(values) > 1 else 0 for tag, values in fields.items()}
    head = 8 + 2 + 12 * len(fields) + 4
    place = head + sum(sizes.values())
    for number, strip in enumerate(strips):
        fields[273][number] = place
        place += len(strip)
    entries, more = b"", b""
    for tag, values in sorted(fields.items()):
        # The palette must be of 16-bit numbers; the others may be of 32.
        kind, letter = (3, "H") if tag in (PALETTE, 258, SAMPLE_FORMAT, 338) else (4, "I")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            entry, more = struct.pack(order + "I", head + len(more)), more + packed.ljust(sizes[tag], b"\0")
        else:
            entry, more = packed.ljust(4, b"\0"), more + b"\0" * sizes[tag]
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + entry
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(fields))
    path.write_bytes(start + entries + b"\0" * 4 + more + b"".join(strips))
    return path
