"""What is in a data set's files, remembered by size and time of change, so that a change of one pixel is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from protomask.data.images import AnnotatedImages, Splits
from protomask.data.parts_cache import user_cache
from protomask.data.raster import MEND, MISSING
from protomask.errors import InputError
from protomask.files import check_regular_file, content_digest, parse_json, write_atomically

SPLITS = ("train", "validation", "test")

# A file that changes twice within the clock's tick has the same time: one that is so young is read again next time.
_SETTLED_NS = 2 * 10**9


def split_contents(splits: Splits) -> dict[str, str]:
    """Digest each split to 16 hexadecimal digits: classes, names, labels, order, annotations, every byte of the files.

    Files are read once; later their sizes and times of change are compared with what the user's cache remembers.
    """
    return {name: _content(getattr(splits, name)) for name in SPLITS}


def data_change(known: Mapping[str, Any], splits: Splits) -> str:
    """Say in what the data differ from those of a run; empty where they do not.

    Args:
        known: ``fingerprint``, of the training images' names, labels and sizes, and ``contents``, of
            :func:`split_contents`. What is missing (in runs of older versions) is not compared.
    """
    before, now = known.get("fingerprint"), splits.train.fingerprint()
    if before not in (None, now):
        return f"fingerprint {now}, not {before}"
    contents = known.get("contents")
    if not contents:
        return ""
    found = split_contents(splits)
    changed = [name for name in SPLITS if contents.get(name, found[name]) != found[name]]
    return f"images or annotations for {' and '.join(changed)} differ" if changed else ""


def _content(data: AnnotatedImages) -> str:
    stored = [data.stored(position) for position in range(len(data))]
    files = [data.files(index) for index in stored]
    known = file_digests([path for own in files for path in own])
    digest = hashlib.blake2b(repr((data.classes, data.part_names)).encode("utf-8", "surrogateescape"), digest_size=8)
    for index, own, label, name in zip(stored, files, data.labels.tolist(), data.names):
        row = (name, label, data.identity(index), data.annotations(index), [known[path] for path in own])
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_digests(paths: Sequence[Path], cache: Path | None = None) -> dict[Path, str]:
    """Digest the content of files, from the cache where size and time of change are the same.

    Args:
        cache: folder that remembers; by default the user's.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    if not paths:
        return {}
    paths = list(dict.fromkeys(paths))
    folder = cache or user_cache()
    file = None if folder is None else folder / "contents" / f"{_name(paths)}.json"
    kept, found, fresh = _remembered(file), {}, {}
    stats = {path: check_regular_file(path, MEND, MISSING) for path in paths}
    keys = {path: f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}" for path, stat in stats.items()}
    for path, key in keys.items():
        before = kept.get(os.fsencode(path).hex())
        if isinstance(before, list) and len(before) == 2 and before[0] == key and isinstance(before[1], str):
            found[path] = before[1]
    left = [path for path in paths if path not in found]
    begin = time.time_ns()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        fresh = dict(zip(left, pool.map(lambda path: content_digest(path, MEND, MISSING).hex(), left)))
    found |= fresh
    settled = {
        os.fsencode(path).hex(): [keys[path], found[path]]
        for path in fresh
        if max(stats[path].st_mtime_ns, stats[path].st_ctime_ns) < begin - _SETTLED_NS
    }
    if settled and file is not None:
        _remember(file, {**kept, **settled})
    return found


def _name(paths: Sequence[Path]) -> str:
    """One file of the cache for what lies below one folder."""
    folder = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    return hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()


def _remembered(file: Path | None) -> dict:
    try:
        content = parse_json(file.read_bytes(), file, "delete it") if file is not None and file.is_file() else {}
    except (OSError, InputError):
        return {}  # damaged: everything is read again
    return content if isinstance(content, dict) else {}


def _remember(file: Path, content: dict) -> None:
    try:
        write_atomically(file, lambda path: path.write_text(json.dumps(content), encoding="utf-8"))
    except InputError:
        pass  # a cache that cannot be written only costs time
