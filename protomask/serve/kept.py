"""The last pictures that were asked about, in memory, under numbers that nobody can guess."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from protomask.serve.subjects import Asked

MOST = 40


class Kept:
    """Remember the last ``most`` pictures; older ones are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, asked: Asked) -> str:
        """Keep a picture, and name it."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._asked[name] = asked
            while len(self._asked) > self.most:
                self._asked.popitem(last=False)
        return name

    def get(self, name: str) -> Asked | None:
        """Find a picture; None where it is forgotten."""
        with self._lock:
            if name in self._asked:
                self._asked.move_to_end(name)
            return self._asked.get(name)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._asked.clear()

    def __len__(self) -> int:
        return len(self._asked)
