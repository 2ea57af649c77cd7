"""Near-duplicates: the same picture marked or compressed differently, which must not be in training and in test."""

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protomask.data.decoding import thumbnail
from protomask.data.problems import noted
from protomask.data.remembered import find_out, recall
from protomask.errors import InputError
from protomask.files import content_digest

_SIDE, _FINER = 32, 64
_REMEMBERED = "thumbnails-{}-upright"  # another name whenever thumbnails of the same file change
_MOST_BITS = 6  # of 64
_MOST_GREY = 4.0  # of 255
_MOST_ANYWHERE = 24.0  # a small thing that moved makes another picture
_BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def near_duplicate_groups(paths: Sequence[Path], *, side: int = _FINER, correlation: float = 0.95) -> Tensor:
    """Find groups of images that are the same but for details.

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
    for place, (path, small) in enumerate(zip(paths, _thumbnails(paths, side))):
        with noted():
            flat[place] = (thumbnail(path, side) if small is None else small).reshape(-1)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    # Constant images correlate with nothing.
    flat /= np.where(norms > 0, norms, 1)
    first, second = np.nonzero(np.triu(flat @ flat.T > correlation, k=1))
    return _joined(len(paths), zip(first.tolist(), second.tolist()))


def copy_groups(paths: Sequence[Path]) -> Tensor:
    """Find groups of pictures that are copies: the same bytes, or the same picture compressed or scaled anew.

    Stricter than :func:`near_duplicate_groups`, so that pictures that only look alike (two chest X-rays) stay apart:
    thumbnails of 32 x 32 pixels whose signs of brightness from column to column differ in no more than 6 of 64 places,
    and whose grey levels differ by 4 of 255 on average (less in pictures of little contrast) and nowhere by more than
    24. Pictures of one colour are copies only where their bytes are. Each picture is decoded once: its thumbnail is
    kept in the user's cache. Files that cannot be read are left to whoever reads them all. Time grows with the square
    of ``len``, slowly.

    Returns:
        (len,) long: the position of the first picture of each one's group.
    """
    if not len(paths):
        return torch.zeros(0, dtype=torch.long)
    return _joined(len(paths), [*_same_bytes(paths), *_same_looks(_thumbnails(paths, _SIDE))])


def were_decoded(paths: Sequence[Path]) -> set[Path]:
    """Tell which pictures have a thumbnail in the user's cache, so that it is known that they can be decoded."""
    return {path for side in (_SIDE, _FINER) for path in recall(paths, _REMEMBERED.format(side))}


def _same_bytes(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    sizes: dict[int, list[int]] = {}
    for place, path in enumerate(paths):
        with suppress(OSError):
            sizes.setdefault(os.stat(path).st_size, []).append(place)
    alike = [place for places in sizes.values() if len(places) > 1 for place in places if paths[place].is_file()]
    digests = find_out([paths[place] for place in alike], "contents", _digest)
    firsts: dict[str, int] = {}
    for place in alike:
        digest = digests[paths[place]]
        if digest is not None and (first := firsts.setdefault(digest, place)) != place:
            yield first, place


def _digest(path: Path) -> str | None:
    try:
        return content_digest(path).hex()
    except InputError:
        return None


def _thumbnails(paths: Sequence[Path], side: int) -> list[np.ndarray | None]:
    """Grey levels (side, side) uint8 of each picture, None where it cannot be read; decoded once, then remembered."""

    def shrink(path: Path) -> str | None:
        try:
            return base64.b64encode(thumbnail(path, side).astype(np.uint8).tobytes()).decode()
        except InputError:
            return None

    found = find_out([path for path in paths if path.is_file()], _REMEMBERED.format(side), shrink)
    small = {path: _unpacked(text, side) for path, text in found.items()}
    for path, text in found.items():
        if text is not None and small[path] is None:
            small[path] = _unpacked(shrink(path), side)
    return [small.get(path) for path in paths]


def _unpacked(text: str | None, side: int) -> np.ndarray | None:
    try:
        content = base64.b64decode(text or "")
    except ValueError:  # a damaged cache
        return None
    return np.frombuffer(content, np.uint8).reshape(side, side) if len(content) == side * side else None


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
    """Give the least position of each one's group, where pairs and chains of them belong together."""
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
