"""Files, opened and written with care: regular files only, whole or not at all, never through a link."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from protomask.errors import InputError
from protomask.interruption import HeldSignals

# How the names of files that are being written end. One that stays behind was left by a process that was killed.
PARTIAL = ".protomask.part"
# Bytes of a name made by `file_name`, which leaves room for what is put before and behind it.
_LONGEST = 100
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_regular_file(path: str | Path, mend: str = "restore it", missing: str = "no such file") -> os.stat_result:
    """Check that ``path`` is a regular file, or a link to one, and return its size and times; opens nothing.

    A named pipe would be waited for without end, a device read without end.

    Args:
        mend: what to do about anything else, the end of the message.
        missing: what to say where nothing is.

    Raises:
        InputError: nothing is there (or a link that leads nowhere), or something else than a file.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: {missing}; {mend}" if mend else f"{path}: {missing}") from None
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a zero byte in it
        raise InputError(f"{path}: cannot be read ({_reason(error)}); {mend}") from None
    _refuse_others(path, found, mend)
    return found


def check_folder(path: str | Path, mend: str) -> None:
    """Check that ``path`` is a folder, or a link to one.

    Raises:
        InputError: nothing is there, or something else.
    """
    if not os.path.isdir(path):
        what = "a file, where a folder is expected" if os.path.isfile(path) else "no such folder"
        raise InputError(f"{path}: {what}; {mend}")


def check_usable(path: str | Path, mend: str) -> None:
    """Check that ``path`` can be a file or folder at all, whether one is there or not.

    Raises:
        InputError: a name that is too long, a zero byte in it, a folder above that may not be looked into.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be used ({_reason(error)}); {mend}") from None


def open_regular(path: str | Path, mend: str = "restore it", missing: str = "no such file") -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; see :func:`check_regular_file`.

    What is opened is what was checked, whatever happens to the name in between, and nothing is waited for.

    Raises:
        InputError: as :func:`check_regular_file`, or it cannot be opened.
    """
    check_regular_file(path, mend, missing)
    try:
        # The file owns its descriptor from the first: an interruption here could close it twice otherwise, the second
        # time another thread's, or with an error that hides the interruption.
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}); {mend}") from None
    try:
        _refuse_others(path, os.fstat(file.fileno()), mend)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: str | Path, mend: str = "restore it", missing: str = "no such file") -> bytes:
    """Read a whole regular file.

    Raises:
        InputError: as :func:`open_regular`, or it cannot be read.
    """
    with open_regular(path, mend, missing) as file:
        try:
            return file.read()
        except (OSError, MemoryError) as error:
            raise InputError(f"{path}: cannot be read ({_reason(error)}); {mend}") from error


def read_text(
    path: str | Path, kind: str = "text", mend: str = "restore or remove it", missing: str = "no such file"
) -> str:
    """Read a whole regular file of text in UTF-8, with or without a byte order mark; ends of lines stay as they are.

    Args:
        kind: what it should be, named in errors.

    Raises:
        InputError: as :func:`read_bytes`, or it is no UTF-8.
    """
    content = read_bytes(path, mend, missing)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as {kind} in UTF-8 ({error}); {mend}") from None


def content_digest(path: str | Path, mend: str = "restore it", missing: str = "no such file") -> bytes:
    """Digest a regular file's content to 16 bytes, in pieces.

    Raises:
        InputError: as :func:`open_regular`, or it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open_regular(path, mend, missing) as file:
        try:
            while piece := file.read(1 << 20):
                digest.update(piece)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({_reason(error)}); {mend}") from error
    return digest.digest()


def text_digest(text: str) -> str:
    """Digest a text, which may hold names that are not UTF-8, to 16 hexadecimal digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def parse_json(text: str | bytes, path: str | Path, mend: str) -> object:
    """Give the content of JSON text, read strictly: UTF-8, finite numbers only, of bounded depth and size.

    Raises:
        InputError: it is something else; names ``path``.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise InputError(f"{path} is not JSON (nested too deeply); {mend}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {mend}") from error


def is_zip(path: str | Path) -> bool:
    """Tell whether a file ends as zip files do; one whose end tells of several disks is none that can be read."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def refuse_bombs(archive: zipfile.ZipFile) -> None:
    """Raise ValueError for a zip file with compressed parts, which ``torch.save`` never writes."""
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("a zip file with compressed parts")


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary_path)``, flush it to the disk, and rename it to ``path``: whole or not at all.

    The temporary file is new and beside ``path``; a link at ``path`` is replaced, what it leads to stays as it is.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; a file that stood at ``path`` is untouched.
    """
    write_together({Path(path): write})


def write_together(writes: Mapping[Path, Callable[[Path], object]], instead_of: Iterable[Path] = ()) -> None:
    """Write several files as :func:`write_atomically` does; none takes its place before all are on the disk.

    A signal that asks this process to end is obeyed before any takes its place, or once all have.

    Args:
        writes: what writes each path's temporary file.
        instead_of: files that no longer belong to them; they are removed.

    Raises:
        InputError: one cannot be written (named), or its folder was locked and has gone since, see
            :func:`protomask.lock.check_still_locked`; what stood at all the paths is untouched.
    """
    from protomask.lock import check_still_locked  # which needs this module

    for path in writes:
        check_still_locked(path)
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in writes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporaries[path] = temporary = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        with HeldSignals() as held:
            for path, temporary in temporaries.items():
                os.replace(temporary, path)
            for path in instead_of:
                path.unlink(missing_ok=True)
        held.deliver()
        for folder in {path.parent for path in writes}:
            _flush_folder(folder)
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}; free space or choose another output=") from error
    finally:
        for temporary in temporaries.values():
            _remove(temporary)  # nothing is left of those that took their places


def remove_partial(folder: Path, apart: str = "") -> None:
    """Remove the unfinished files that killed processes left in ``folder`` and below; no other process may write.

    Args:
        apart: folders below in which a file is called so are left alone: another process may write there.
    """
    for parent, below, names in os.walk(folder):
        if apart in names and Path(parent) != folder:
            below.clear()
            continue
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL):
                _remove(Path(parent, name))


def file_name(name: str) -> str:
    """Give a file name for ``name`` (a class, a picture's stem): different names have different ones, on every system.

    Letters, digits, blanks within, ``-``, ``_`` and ``.`` stay; everything else becomes ``_``, and so do points at
    both ends. A name that this changes, or that is too long, ends in 8 digits of its own, so that ``x/y`` and ``x_y``
    do not share a file.
    """
    clean = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name)
    clean = re.sub(r"^[. ]+|[. ]+$", lambda found: "_" * len(found[0]), clean)
    short = clean if len(clean.encode()) <= _LONGEST else _cut(clean, _LONGEST - 9)
    if short == name and name and not re.search(r"-[0-9a-f]{8}$", name):
        return name
    return f"{short}-{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _refuse_others(path: str | Path, found: os.stat_result, mend: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for check, words in _KINDS if check(found.st_mode)), "no file")
        raise InputError(f"{path}: {kind}, where a file is expected; {mend}")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # a read-only folder: nothing of ours is in it


def _flush_folder(folder: Path) -> None:
    """Make a renamed entry of a folder last through a power cut, where folders can be opened and flushed."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # the file has its name already
    finally:
        os.close(descriptor)
