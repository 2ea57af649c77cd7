"""What ``torch.save`` wrote, read without running any of it: its zip files, and its older files ("legacy", before torch
1.6).

Whole models (``torch.save(model)``) are pickles that name the author's classes. ``torch.load`` must import and run
those, or refuse; :class:`TorchFile` gives their tensors and plain attributes without them. Formats: known, from
torch/serialization.py.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.files import is_zip
from protomask.importing.inert_pickle import UnreadablePickle, load
from protomask.importing.torch_pickles import MAKERS, Storage, Stored, find_storage

_MAGIC = 0x1950A86A20F9469CFC6C
# What zip files and torch raise for sizes and names that lie.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    LookupError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class TorchFile:
    """A file of ``torch.save``.

    ``content`` is what was saved: containers and plain values, :class:`Stored` in place of tensors (:meth:`tensor`
    reads one) and :class:`~protomask.importing.inert_pickle.Inert` in place of every other object.

    Raises:
        InputError: missing, damaged, truncated, or not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._places: dict[str, tuple[int, int]] = {}
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        self._zipped = is_zip(self.path)
        try:
            self.content = self._read_zip() if self._zipped else self._read_legacy()
        except (*_DAMAGE, UnreadablePickle) as error:
            raise self._unreadable(error) from None

    def tensor(self, stored: Stored) -> Tensor:
        """Read a tensor; it shares no memory with others.

        Raises:
            InputError: it reaches beyond its storage, or the storage is not whole.
        """
        storage = stored.storage
        try:
            if len(stored.size) != len(stored.stride) or min((stored.offset, *stored.size, *stored.stride)) < 0:
                raise UnreadablePickle("a tensor has a wrong size")
            elements = math.prod(stored.size)
            last = stored.offset + sum((length - 1) * step for length, step in zip(stored.size, stored.stride))
            # An expanded tensor could claim more memory than the file ever had.
            if elements and (last >= storage.count or elements > storage.count):
                raise UnreadablePickle("a tensor is larger than its storage")
            if not elements:
                return torch.zeros(stored.size, dtype=storage.dtype)
            numbers = torch.frombuffer(self._bytes(storage), dtype=storage.dtype)
            return numbers.as_strided(stored.size, stored.stride, stored.offset).clone()
        except (*_DAMAGE, UnreadablePickle) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:200].encode("utf-8", "backslashreplace").decode() or type(error).__name__
        return InputError(f"{self.path}: not a readable file of torch.save ({reason}); restore it, or save it again")

    def _read_zip(self) -> Any:
        self._archive = archive = zipfile.ZipFile(self.path)  # closes itself when nobody needs it any more
        names = archive.namelist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()
        ):  # torch never does: it might be a bomb
            raise UnreadablePickle("a zip file with compressed parts")
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UnreadablePickle("a zip file without data.pkl")
        root = pickles[0][: -len("data.pkl")]
        if any(name.startswith(f"{root}code/") for name in names):
            raise UnreadablePickle("a TorchScript program; save model.state_dict() instead")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() != b"little":
            raise UnreadablePickle("numbers of a big-endian machine; save it again on a usual one")
        self._root = root
        return load(io.BytesIO(archive.read(pickles[0])), MAKERS, find_storage)

    def _read_legacy(self) -> Any:
        with open(self.path, "rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise UnreadablePickle("a zip file that ends too early")
            file.seek(0)
            try:
                begins = load(file) == _MAGIC
            except UnreadablePickle:
                begins = False
            if not begins:
                raise UnreadablePickle("it does not begin as one")
            load(file)  # the protocol's number
            system = load(file)
            if isinstance(system, dict) and system.get("little_endian") is False:
                raise UnreadablePickle("numbers of a big-endian machine; save it again on a usual one")
            storages: dict[str, Storage] = {}
            size = self.path.stat().st_size

            def remember(reference: Any) -> Any:
                found = find_storage(reference)
                if isinstance(found, Storage):
                    storages.setdefault(found.key, found)
                return found

            content = load(file, MAKERS, remember)
            keys = load(file)
            for key in keys if isinstance(keys, list) else []:
                count = int.from_bytes(file.read(8), "little")
                # Only text is looked up: the hash of a tuple of tuples may take for ever.
                if not isinstance(key, str) or key not in storages:
                    raise UnreadablePickle("a storage that no tensor names")
                length = count * storages[key].dtype.itemsize
                if file.tell() + length > size:
                    raise UnreadablePickle(f"storage {key[:40]} is not whole")
                self._places[key] = file.tell(), length
                file.seek(length, io.SEEK_CUR)
            return content

    def _bytes(self, storage: Storage) -> bytearray:
        """Read the bytes of a storage, checked to be as many as the file promised."""
        wanted = storage.count * storage.dtype.itemsize
        skipped = storage.start * storage.dtype.itemsize
        if self._zipped:
            entry = self._archive.getinfo(f"{self._root}data/{storage.key}")
            if entry.file_size < skipped + wanted:
                raise UnreadablePickle(f"storage {storage.key} is not whole")
            with self._archive.open(entry) as file:
                return _exactly(file, skipped, wanted)
        if storage.key not in self._places:
            raise UnreadablePickle(f"storage {storage.key} is missing")
        start, length = self._places[storage.key]
        if skipped + wanted > length or start + length > self.path.stat().st_size:
            raise UnreadablePickle(f"storage {storage.key} is not whole")
        with open(self.path, "rb") as file:
            file.seek(start)
            return _exactly(file, skipped, wanted)


def _exactly(file: IO[bytes], skipped: int, wanted: int) -> bytearray:
    file.seek(skipped, io.SEEK_CUR)
    found = bytearray(file.read(wanted))
    if len(found) != wanted:
        raise UnreadablePickle("it ends too early")
    return found
