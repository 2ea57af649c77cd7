"""Decoded images kept in memory, shared with the workers of a data loader."""

import mmap
from collections.abc import Sequence

import numpy as np

CAP = 1 << 30
"""Bytes of decoded pixels up to which a data set is kept in memory unless it is told otherwise."""


class PixelCache:
    """Keep decoded images in memory: one slot of bytes each, filled when an image is first decoded.

    The slots are anonymous shared memory: workers that are forked fill and read the same ones, untouched slots cost no
    memory, and the size limit of /dev/shm does not apply. A worker that is started afresh (spawn, forkserver) gets an
    empty cache of its own.

    Args:
        capacities: bytes that each image may need.
    """

    def __init__(self, capacities: Sequence[int]):
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(capacities, dtype=np.int64))])
        self._allocate()

    def _allocate(self) -> None:
        count = len(self._starts) - 1
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, int(self._starts[-1]))), dtype=np.uint8)
        # height << 32 | width in one word, written after the pixels: a reader sees either nothing or a whole image.
        self._shapes = np.frombuffer(mmap.mmap(-1, max(8, 8 * count)), dtype=np.int64)

    def get(self, index: int) -> tuple[np.ndarray, int, int] | None:
        """Give (bytes, height, width) of image ``index``, a view that must not be written to; None if not yet there."""
        shape = int(self._shapes[index])
        if shape == 0:
            return None
        start, end = self._starts[index], self._starts[index + 1]
        return self._pixels[start:end], shape >> 32, shape & 0xFFFFFFFF

    def put(self, index: int, planes: Sequence[np.ndarray], height: int, width: int) -> None:
        """Keep uint8 ``planes`` one after the other; do nothing where they do not fit their slot."""
        start = int(self._starts[index])
        if sum(plane.size for plane in planes) > self._starts[index + 1] - start:
            return
        for plane in planes:
            self._pixels[start : start + plane.size] = plane.reshape(-1)
            start += plane.size
        self._shapes[index] = height << 32 | width

    def __getstate__(self) -> dict:
        return {"_starts": self._starts}

    def __setstate__(self, state: dict) -> None:
        self._starts = state["_starts"]
        self._allocate()
