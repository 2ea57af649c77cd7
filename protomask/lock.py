"""A lock on a run's folder: one process, and one thread of it, writes there at a time."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from protomask.errors import InputError
from protomask.files import remove_partial

try:
    import fcntl
except ImportError:  # Windows: threads are kept out, other processes are not
    fcntl = None  # type: ignore[assignment]


LOCK = ".lock"
"""the file in a folder that is locked"""
File = tuple[int, int] | str
"""device and inode, by which a file is the same under every name; its real path where no file is opened"""


@dataclass
class _Hold:
    """A lock file that this process holds."""

    file: File
    thread: threading.Thread
    folder: Path
    """absolute, as it was called"""
    identity: tuple[int, int]
    """device and inode of the folder"""
    descriptor: int | None = None
    """of the open file; none where the system has no locks"""
    alone: bool = False
    """whether the system keeps other processes out"""
    entries: int = 1
    """how many ``locked`` of the thread are within it"""


_REFUSED = (errno.EACCES, errno.EAGAIN)
"""what the system answers where another process has the lock"""
_OURS = re.compile(rb"process \d+ on ")
"""how a lock file of ours begins, but for an empty one"""
_UNNAMED = "another process"

_held: dict[File, _Hold] = {}
_changing = threading.RLock()
"""held while ``_held`` is looked at and changed, which may be from within a garbage collection"""


@contextmanager
def locked(folder: Path, name: str = LOCK, patience: float = 0.0, sweep: bool = True) -> Iterator[None]:
    """Keep other processes, and other threads of this one, out of ``folder``, which is made where it is missing.

    Within it the same thread may lock the same folder again; the last one to leave lets go, in whatever order they do.
    The system itself lets go when the process ends, also by ``kill -9``; the file ``.lock`` that stays behind locks
    nothing. Its processes that load data do not hold the lock, so that they cannot outlive it. Where the system has no
    locks (Windows, some network drives), threads alone are kept out.

    Args:
        name: the file that is locked; another than ``LOCK`` is for something small within the folder.
        patience: seconds to wait for the other one.
        sweep: whether half-written files in the folder and below are removed, which killed processes left; not for a
            folder that may hold what others write. Nothing is removed where other processes are not kept out.

    Raises:
        InputError: another process or thread is at work there (named), or the folder cannot be written to.
    """
    try:
        hold = _take(folder, name, patience)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; make it writable, or choose another folder"
        ) from error
    try:
        if sweep and name == LOCK and hold.alone and hold.entries == 1:
            remove_partial(folder, apart=LOCK)
        yield
    finally:
        _let_go(hold)


def check_still_locked(path: Path) -> None:
    """Check that no folder above ``path`` that this process has locked was moved, deleted or unmounted meanwhile.

    What is written there would make a new folder of the old name, which nobody has locked and nothing else is in.

    Raises:
        InputError: one was.
    """
    place = path.absolute()  # with its "..", which behind a link leads elsewhere than the text says
    with _changing:
        holds = [hold for hold in _held.values() if place.is_relative_to(hold.folder)]
    for hold in holds:
        # Whoever deletes the lock's file alone has moved nothing.
        if hold.identity != _identity(hold.folder) and hold.file != _identity(hold.folder / LOCK):
            raise InputError(
                f"the folder {hold.folder} is no longer the one that this command began to write into (moved, deleted "
                "or unmounted?); put it back, or go on with the folder where it is now"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _take(folder: Path, name: str, patience: float) -> _Hold:
    """Open and lock the file, or enter once more where this thread has it already."""
    end = time.monotonic() + patience
    while True:
        folder.mkdir(parents=True, exist_ok=True)  # who held it may have removed it, where nothing came to be in it
        # Record locks are the whole process's, and gone as soon as any of its threads closes the file: it is not even
        # opened while one of them holds it.
        try:
            with _changing:
                hold = _holding(folder / name)
                if hold is None:
                    hold, holder = _new_hold(folder / name)
                    if hold is not None:
                        _held[hold.file] = hold
                        return hold
                elif hold.thread is threading.current_thread():
                    hold.entries += 1
                    return hold
                else:
                    holder = f"another thread of {_this_process()}"
        except FileNotFoundError:
            if time.monotonic() >= end:
                raise
            continue  # removed just now
        if time.monotonic() >= end:
            raise InputError(f"{holder} is at work in {folder}; wait until it is done, or use another folder")
        time.sleep(0.02)


def _holding(path: Path) -> _Hold | None:
    """Give what this process holds of a lock file."""
    if fcntl is None:
        return _held.get(os.path.realpath(path))
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    return _held.get((state.st_dev, state.st_ino))


def _new_hold(path: Path) -> tuple[_Hold | None, str]:
    """Lock a file that no thread of this process has open; where another process holds it, say which."""
    if fcntl is None:
        return _hold(os.path.realpath(path), path), ""
    (descriptor, writable), hold = _opened(path), None
    try:
        alone, holder = (_lock if writable else _lock_readable)(descriptor)
        if holder is None:
            if alone and writable:
                _name_holder(descriptor, path.parent)
            state = os.fstat(descriptor)
            hold = _hold((state.st_dev, state.st_ino), path)
            hold.descriptor, hold.alone = descriptor, alone
        return hold, holder or ""
    finally:
        if hold is None:
            os.close(descriptor)


def _hold(file: File, path: Path) -> _Hold:
    folder = os.stat(path.parent)
    return _Hold(file, threading.current_thread(), path.parent.absolute(), (folder.st_dev, folder.st_ino))


def _lock(descriptor: int) -> tuple[bool, str | None]:
    """Lock a file that is open; tell whether the system did, and who holds it where another process does."""
    try:
        # A record lock, not flock: forked loading processes do not inherit it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _REFUSED:
            return False, None  # a file system without locks: other processes are not kept out
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False, _holder(descriptor)
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
        return False, _UNNAMED  # one that cannot write the file holds it: the name in it is an older one's
    return True, None


def _lock_readable(descriptor: int) -> tuple[bool, str | None]:
    """Lock a file that is open for reading alone, as another user's may be, likewise."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # keeps those out who can write it
    except OSError as error:
        return False, _holder(descriptor) if error.errno in _REFUSED else None
    if sys.platform != "linux":
        return False, None  # the two kinds of locks keep each other out there, also within a process
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and those who cannot
    except OSError as error:
        return False, _UNNAMED if error.errno in _REFUSED else None
    return True, None


def _holder(descriptor: int) -> str:
    found = os.pread(descriptor, 200, 0)
    return found.decode(errors="replace").strip() if _OURS.match(found) else _UNNAMED


def _let_go(hold: _Hold) -> None:
    with _changing:
        hold.entries -= 1
        if hold.entries:
            return
        if _held.get(hold.file) is hold:  # a forked process has forgotten it
            del _held[hold.file]
        if hold.descriptor is not None:
            os.close(hold.descriptor)


def _hold_nothing() -> None:
    """Forget, in a forked process, what the one that it comes from holds."""
    global _changing
    for hold in _held.values():
        if hold.descriptor is not None:
            os.close(hold.descriptor)  # with which it would hold a file that is locked for reading alone, too
            hold.descriptor = None
    _held.clear()
    _changing = threading.RLock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hold_nothing)


def _opened(path: Path) -> tuple[int, bool]:
    """Open the lock's file, which is no link: what a link leads to would be overwritten. Tell whether for writing."""
    writable, flags = True, os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
        except PermissionError:
            # Another user's, in a folder that several share; or there is none, and none can be made.
            if not os.access(path.parent, os.W_OK):
                raise
            try:
                descriptor, writable = os.open(path, os.O_RDONLY | flags), False
            except PermissionError as error:
                raise InputError(
                    f"{path} is another user's, and cannot be read; remove it while nobody is at work in {path.parent}"
                ) from error
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise InputError(
                f"{path} is a {'link' if path.is_symlink() else 'folder'}, not a file; remove it"
            ) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a file; remove it")
    return descriptor, writable


def _name_holder(descriptor: int, folder: Path) -> None:
    """Write who holds the file, unless it is somebody's own, and open it to all who may write into its folder."""
    if (content := os.pread(descriptor, 200, 0)) and not _OURS.match(content):
        return
    with suppress(OSError):  # a full disk: whoever is refused is not told by whom
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _this_process().encode())
    writers = os.stat(folder).st_mode & 0o022
    with suppress(OSError):  # another user's file
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | writers | writers << 1)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
