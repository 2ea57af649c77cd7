"""A lock on a run's folder: one process, and one thread of it, writes there at a time."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
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
File = tuple[int, int]
"""device and inode, by which a file is the same under every name"""
_held: dict[File, threading.Thread] = {}
"""lock files that this process holds, and for which thread"""
_changing = threading.RLock()
"""held while ``_held`` is looked at and changed, which may be from within a garbage collection"""


@contextmanager
def locked(folder: Path, name: str = LOCK, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes, and other threads of this one, out of ``folder``, which is made where it is missing.

    Within it the same thread may lock the same folder again. The system itself lets go when the process ends, also by
    ``kill -9``; the file ``.lock`` that stays behind locks nothing. Its processes that load data do not hold the lock,
    so that they cannot outlive it.

    Args:
        name: the file that is locked; another than ``LOCK`` is for something small within the folder.
        patience: seconds to wait for the other one.

    Raises:
        InputError: another process or thread is at work there (named), or the folder cannot be written to.
    """
    if fcntl is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = _take(folder, name, patience)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; make it writable, or choose another folder"
        ) from error
    if taken is None:
        yield
        return
    try:
        if name == LOCK:
            remove_partial(folder, apart=LOCK)
        yield
    finally:
        _let_go(*taken)


def _take(folder: Path, name: str, patience: float) -> tuple[int, File] | None:
    """Open and lock the file; None where this thread has it already."""
    end = time.monotonic() + patience
    while True:
        # Record locks are the whole process's, and gone as soon as any of its threads closes the file: it is not even
        # opened while one of them holds it.
        with _changing:
            thread = _holding(folder / name)
            if thread is threading.current_thread():
                return None
            if thread is None:
                descriptor = _opened(folder / name)
                holder = _lock(descriptor)
                if holder is None:
                    state = os.fstat(descriptor)
                    file = state.st_dev, state.st_ino
                    _held[file] = threading.current_thread()
                    return descriptor, file
                os.close(descriptor)
            else:
                holder = f"another thread of {_this_process()}"
        if time.monotonic() >= end:
            raise InputError(f"{holder} is at work in {folder}; wait until it is done, or use another folder")
        time.sleep(0.02)


def _holding(path: Path) -> threading.Thread | None:
    """Give the thread of this process that holds a lock file."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    return _held.get((state.st_dev, state.st_ino))


def _lock(descriptor: int) -> str | None:
    """Lock a file that is open; say who holds it where another process does."""
    try:
        # A record lock, not flock: forked loading processes do not inherit it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        return None  # a file system without locks: other processes are not kept out
    _name_holder(descriptor)
    return None


def _let_go(descriptor: int, file: File) -> None:
    with _changing:
        _held.pop(file, None)
        os.close(descriptor)


def _hold_nothing() -> None:
    """Forget, in a forked process, what the one that it comes from holds."""
    global _changing
    _held.clear()
    _changing = threading.RLock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hold_nothing)


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
        os.write(descriptor, _this_process().encode())
    except OSError:
        pass  # a full disk: whoever is refused is not told by whom


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
