"""Freed memory that stays at hand while masks are learned on a processor."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""names of mallopt(3)"""
MIB = 1 << 20


@contextmanager
def keep_freed_memory(device: str = "cpu") -> Iterator[None]:
    """Let glibc keep what is freed for the next allocation, up to 2 GiB.

    By itself it gives large tensors back to the system at once and takes them, zeroed page by page, again: once for
    every layer of every pass, an eighth of the time of learning a mask. On leaving, the limits are those that glibc
    comes to by itself in a process with large tensors. Does nothing where another C library is at work, where the
    environment sets glibc's limits, or on another ``device`` than the CPU.
    """
    given = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    set_limit = None if given or device != "cpu" else _mallopt()
    if set_limit is None:
        yield
        return
    set_limit(MMAP_MAX, 0)
    set_limit(TRIM_THRESHOLD, 2048 * MIB - 1)
    try:
        yield
    finally:
        set_limit(MMAP_MAX, 65536)
        set_limit(MMAP_THRESHOLD, 32 * MIB)
        set_limit(TRIM_THRESHOLD, 64 * MIB)


def _mallopt():
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # mallopt alone is elsewhere, too
        return library.mallopt
    except (AttributeError, OSError, TypeError):
        return None
