"""Many short texts in two arrays, which forked processes share without copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

CODING = "utf-8", "surrogateescape"
AT_ONCE = 65_536
"""texts that are held as Python's own while arrays are made"""


class Words(Sequence[str]):
    """A sequence of texts, kept as bytes and where each begins.

    A million names as Python's own texts are a million objects, whose counters every loading process writes to, and
    thereby copies; in arrays they take their letters and eight bytes each, once for all processes.

    >>> words = Words(["one", "two", "three"])
    >>> words[1], words[-1], list(words.take([2, 0])), words == ("one", "two", "three")
    ('two', 'three', ['three', 'one'], True)
    """

    _letters: np.ndarray
    _starts: np.ndarray
    _chosen: np.ndarray | None

    def __init__(self, texts: Iterable[str] = ()) -> None:
        if isinstance(texts, Words):
            self._letters, self._starts, self._chosen = texts._letters, texts._starts, texts._chosen
            return
        letters, lengths, part = [], [], []
        for text in texts:
            part.append(text.encode(*CODING))
            if len(part) == AT_ONCE:
                letters.append(b"".join(part))
                lengths.append(np.fromiter(map(len, part), np.int64, len(part)))
                part = []
        letters.append(b"".join(part))
        lengths.append(np.fromiter(map(len, part), np.int64, len(part)))
        self._letters = np.frombuffer(b"".join(letters), np.uint8)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.concatenate(lengths).cumsum()])
        self._chosen = None

    def take(self, positions: Tensor | Sequence[int]) -> Words:
        """Give the texts at ``positions``, in that order; the letters are shared."""
        places = positions.numpy() if isinstance(positions, Tensor) else np.asarray(positions, dtype=np.int64)
        places = places.reshape(-1)
        if len(places) and not (-len(self) <= places.min() and places.max() < len(self)):
            raise IndexError(f"a position beyond the {len(self)} texts")
        places = np.where(places < 0, places + len(self), places)
        other = Words(self)
        other._chosen = places if self._chosen is None else self._chosen[places]
        return other

    def __len__(self) -> int:
        return len(self._starts) - 1 if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> Words: ...

    def __getitem__(self, position: int | slice) -> str | Words:
        if isinstance(position, slice):
            return self.take(torch.arange(len(self))[position])
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of {len(self)} texts")
        place = int(position) % len(self)
        place = place if self._chosen is None else int(self._chosen[place])
        return self._letters[self._starts[place] : self._starts[place + 1]].tobytes().decode(*CODING)

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"Words({shown}{', ...' if len(self) > 3 else ''}; {len(self)} texts)"


class Paths(Sequence[Path]):
    """A sequence of paths, kept as :class:`Words`."""

    def __init__(self, paths: Iterable[Path | str] = ()) -> None:
        self._words = Words(str(path) for path in paths)

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, position):
        found = self._words[position]
        return Path(found) if isinstance(found, str) else tuple(Path(each) for each in found)

    def __iter__(self) -> Iterator[Path]:
        return (Path(word) for word in self._words)
