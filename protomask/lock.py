"""A lock on a run's folder: one process writes there at a time."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protomask.errors import InputError
from protomask.files import remove_partial

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None  # type: ignore[assignment]


LOCK = ".lock"
"""the file in a folder that is locked"""


@contextmanager
def locked(folder: Path, name: str = LOCK, patience: float = 0.0) -> Iterator[None]:
    """Keep the commands of other processes out of ``folder``, which is made where it is missing.

    The system itself lets go when the process ends, also by ``kill -9``; the file ``.lock`` that stays behind locks
    nothing. Its processes that load data do not hold the lock, so that they cannot outlive it.

    Args:
        name: the file that is locked; another than ``LOCK`` is for something small within the folder.
        patience: seconds to wait for the other process.

    Raises:
        InputError: another process is at work there (named), or the folder cannot be written to.
    """
    if fcntl is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _opened(folder / name)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; make it writable, or choose another run folder"
        ) from error
    try:
        try:
            # A record lock, not flock: forked loading processes do not inherit it.
            _take(descriptor, patience)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
                raise InputError(
                    f"{holder} is at work in {folder}; wait until it is done, or use another run folder"
                ) from error
            # A file system without locks: work without.
        else:
            _name_holder(descriptor)
            if name == LOCK:
                remove_partial(folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() >= end:
                raise
        time.sleep(0.02)


def _opened(path: Path) -> int:
    """Open the lock's file, which is no link: what a link leads to would be overwritten."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise InputError(
                f"{path} is a {'link' if path.is_symlink() else 'folder'}, not a file; remove it"
            ) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a file; remove it")
    return descriptor


def _name_holder(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError:
        pass  # a full disk: whoever is refused is not told by whom
