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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.importing.inert_pickle import Inert, Name, UnreadablePickle, load

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


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


@dataclass(frozen=True)
class Storage:
    """Numbers outside the pickle: where they are, of which kind and how many."""

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True)
class Stored:
    """A tensor that is not read yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


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
        self._zipped = zipfile.is_zipfile(self.path)
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
        return load(io.BytesIO(archive.read(pickles[0])), _MAKERS, _persistent)

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
                found = _persistent(reference)
                if isinstance(found, Storage):
                    storages.setdefault(found.key, found)
                return found

            content = load(file, _MAKERS, remember)
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
        """The bytes of a storage, checked to be as many as the file promised."""
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


def _persistent(reference: Any) -> Any:
    """A storage; for legacy files also ("module", class, file, source), of which only the class's name is kept."""
    if not isinstance(reference, tuple) or len(reference) < 2:
        raise UnreadablePickle("it refers to something outside that is no storage")
    if reference[0] == "module":
        return reference[1]
    if reference[0] != "storage" or len(reference) < 5 or not isinstance(reference[1], Name):
        raise UnreadablePickle("it refers to something outside that is no storage")
    kind, key, count = reference[1].name, reference[2], reference[4]
    if kind not in _DTYPES or not isinstance(key, str) or not _whole(count):
        raise UnreadablePickle(f"a storage of kind {reference[1]}")
    view = reference[5] if len(reference) > 5 else None
    if view is None:
        return Storage(key, _DTYPES[kind], count)
    if not isinstance(view, tuple) or len(view) != 3 or not _whole(view[1]) or not _whole(view[2]):
        raise UnreadablePickle("a view of a storage that is none")
    return Storage(key, _DTYPES[kind], view[2], view[1])


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _stored(storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *_) -> Stored:
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(storage, Storage) or not all(_whole(number) for number in numbers):
        raise UnreadablePickle("a tensor that is none")
    return Stored(storage, offset, size, stride)


def _first(value: Any = None, *_) -> Any:
    return value


def _typed(maker: Any = None, kind: Any = None, arguments: Any = (), *_) -> Any:
    """A tensor of a subclass (a parameter with attributes): the plain tensor in it."""
    known = _MAKERS.get(maker) if isinstance(maker, Name) else None
    return known(*arguments) if known and isinstance(arguments, tuple) else Inert(maker, (kind, arguments))


def _ordered(items: Any = (), *_) -> dict:
    """An ordered dictionary, from pairs as old Pythons wrote them; usually it is filled afterwards."""
    pairs = items if isinstance(items, list) else []
    return {
        pair[0]: pair[1]
        for pair in pairs
        if isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)
    }


_MAKERS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _stored,
    Name("torch._utils", "_rebuild_tensor"): _stored,
    Name("torch._utils", "_rebuild_parameter"): _first,
    Name("torch._utils", "_rebuild_parameter_with_state"): _first,
    Name("torch._tensor", "_rebuild_from_type_v2"): _typed,
    Name("torch.nn.parameter", "Parameter"): _first,
    Name("torch", "Size"): _first,
    Name("collections", "OrderedDict"): _ordered,
}
