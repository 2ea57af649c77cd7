"""Near-duplicates: the same picture marked or compressed differently, which must not be in training and in test."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protomask.data.decoding import thumbnail
from protomask.data.problems import noted
from protomask.errors import InputError
from protomask.files import content_digest

_SIDE = 32
_MOST_BITS = 6  # of 64
_MOST_GREY = 4.0  # of 255
_MOST_ANYWHERE = 24.0  # a small thing that moved makes another picture
_BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def near_duplicate_groups(paths: Sequence[Path], *, side: int = 64, correlation: float = 0.95) -> Tensor:
    """Number the groups of images that are the same but for details.

    Two images belong together when the grey levels of their thumbnails of ``side`` x ``side`` pixels correlate by more
    than ``correlation`` (Pearson), and so do chains of such images. Reads every image; memory (len)^2 floats.

    Returns:
        (len,) long: the position of the first image of each image's group.

    Raises:
        InputError: an image cannot be read.
    """
    if not len(paths):
        return torch.zeros(0, dtype=torch.long)
    flat = np.zeros((len(paths), side * side), dtype=np.float32)
    for place, path in enumerate(paths):
        with noted():
            flat[place] = thumbnail(path, side).reshape(-1)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    # Constant images correlate with nothing.
    flat /= np.where(norms > 0, norms, 1)
    first, second = np.nonzero(np.triu(flat @ flat.T > correlation, k=1))
    return _joined(len(paths), zip(first.tolist(), second.tolist()))


def copy_groups(paths: Sequence[Path]) -> Tensor:
    """Number the groups of pictures that are copies: the same bytes, or the same picture compressed or scaled anew.

    Stricter than :func:`near_duplicate_groups`, so that pictures that only look alike (two chest X-rays) stay apart:
    thumbnails of 32 x 32 pixels whose signs of brightness from column to column differ in no more than 6 of 64 places,
    and whose grey levels differ by 4 of 255 on average (less in pictures of little contrast) and nowhere by more than
    24. Pictures of one colour are copies only where their bytes are. Files that cannot be read are left to whoever
    reads them all. Time grows with the square of ``len``, slowly.

    Returns:
        (len,) long: the position of the first picture of each one's group.
    """
    if not len(paths):
        return torch.zeros(0, dtype=torch.long)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        thumbnails = list(pool.map(_small, paths))
    return _joined(len(paths), [*_same_bytes(paths), *_same_looks(thumbnails)])


def _same_bytes(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    sizes: dict[int, list[int]] = {}
    for place, path in enumerate(paths):
        with suppress(OSError):
            sizes.setdefault(os.stat(path).st_size, []).append(place)
    for places in sizes.values():
        firsts: dict[bytes, int] = {}
        for place in places if len(places) > 1 else ():
            with suppress(InputError):
                first = firsts.setdefault(content_digest(paths[place]), place)
                if first != place:
                    yield first, place


def _small(path: Path) -> np.ndarray | None:
    try:
        return thumbnail(path, _SIDE).astype(np.uint8)
    except InputError:
        return None


def _same_looks(thumbnails: Sequence[np.ndarray | None]) -> Iterator[tuple[int, int]]:
    usable = {place: small for place, small in enumerate(thumbnails) if small is not None and small.std() > 1}
    places = list(usable)
    if len(places) < 2:
        return
    small = np.stack(list(usable.values()))
    coarse = small[:, ::4, :].reshape(len(small), 8, _SIDE)
    signs = coarse[:, :, 4::3][:, :, :8] > coarse[:, :, ::3][:, :, :8]
    hashes = np.packbits(signs.reshape(len(small), 64), axis=1).view(np.uint64).reshape(-1)
    grey = small.reshape(len(small), -1).astype(np.float32)
    for at in range(len(hashes) - 1):
        differing = _BITS[(hashes[at + 1 :] ^ hashes[at]).view(np.uint8).reshape(-1, 8)].sum(1)
        for other in (at + 1 + np.flatnonzero(differing <= _MOST_BITS)).tolist():
            differences = np.abs(grey[at] - grey[other])
            if differences.mean() <= min(_MOST_GREY, 0.1 * grey[at].std()) and differences.max() <= _MOST_ANYWHERE:
                yield places[at], places[other]


def _joined(count: int, pairs: Iterable[tuple[int, int]]) -> Tensor:
    """The least position of each one's group, where pairs and chains of them belong together."""
    group = list(range(count))

    def root(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        group[high] = low
    return torch.tensor([root(place) for place in range(count)])
