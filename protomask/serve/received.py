"""What browsers send, received within bounds of size, memory and time."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from fastapi import Request

MOST_BYTES = 48 * 2**20
"""of one picture"""
MOST_BYTES_OF_WORDS = 2**20
PATIENCE = 120.0
"""seconds in which a request must have arrived"""
FULL = "too many pictures are waiting; try again in a moment"


class Refused(Exception):
    """A request that cannot be answered: the status, and a line for the reader."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text


class Room:
    """Count the bytes that are held, of all requests together."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Hold ``size`` more bytes; Refused where there is no room."""
        with self._lock:
            if self.held + size > self.most:
                raise Refused(429, FULL)
            self.held += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self.held -= size


class Content:
    """Hold what was received until it is released, once; a context manager."""

    def __init__(self, room: Room) -> None:
        self._room, self._size = room, 0
        self._parts: list[bytes] = []
        self._lock = threading.Lock()

    def append(self, part: bytes) -> None:
        self._room.take(len(part))
        self._size += len(part)
        self._parts.append(part)

    def bytes(self) -> bytes:
        return b"".join(self._parts)

    def __len__(self) -> int:
        return self._size

    def release(self) -> None:
        with self._lock:
            self._room.give_back(self._size)
            self._parts, self._size = [], 0

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def receive(request: Request, most: int, room: Room, mend: str = "make it smaller") -> Content:
    """Receive the body of a request.

    Args:
        mend: what to do about more than ``most`` bytes.

    Raises:
        Refused: more than ``most`` bytes, no room, or too slow.
    """
    content = Content(room)
    try:
        await asyncio.wait_for(_collect(request, most, content, mend), PATIENCE)
    except asyncio.TimeoutError:
        content.release()
        raise Refused(408, f"the file did not arrive within {PATIENCE:.0f} seconds; try again") from None
    except BaseException:
        content.release()
        raise
    return content


async def _collect(request: Request, most: int, content: Content, mend: str) -> None:
    large = f"what was sent is larger than {most / 2**20:.0f} MB; {mend}"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
        raise Refused(413, large)
    async for part in request.stream():
        if len(content) + len(part) > most:
            raise Refused(413, large)
        content.append(part)


async def read_words(
    request: Request, most: int = MOST_BYTES_OF_WORDS, room: Room | None = None, mend: str = "make it smaller"
) -> Any:
    """Receive the JSON of a request.

    Args:
        room: shared with other requests; by default one of its own.
        mend: what to do about more than ``most`` bytes.

    Raises:
        Refused: too long, too slow, or no JSON.
    """
    with await receive(request, most, room or Room(most), mend) as content:
        text = content.bytes()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "what was sent is not JSON") from None
