"""What was found out about files, remembered by their sizes and times of change in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from protomask.data.parts_cache import user_cache
from protomask.data.raster import MEND, MISSING
from protomask.errors import InputError
from protomask.files import check_regular_file, parse_json, write_atomically

# A file that changes twice within the clock's tick has the same time: one that is so young is read again next time.
_SETTLED_NS = 2 * 10**9


def find_out(
    paths: Sequence[Path],
    kind: str,
    find: Callable[[Path], str | None],
    cache: Path | None = None,
    *,
    progress: bool = False,
) -> dict[Path, str | None]:
    """Call ``find`` on each file, in threads, or take what the cache remembers where size and time are the same.

    Args:
        paths: of regular files.
        kind: names what is found; a folder of the cache.
        find: None is not remembered.
        cache: folder that remembers; by default the user's.
        progress: show a bar where it takes more than a second.

    Raises:
        InputError: a file is missing, and what ``find`` raises.
    """
    if not paths:
        return {}
    paths = list(dict.fromkeys(paths))
    file = _file_of(paths, kind, cache)
    kept, stats = _remembered(file), {path: check_regular_file(path, MEND, MISSING) for path in paths}
    keys = {path: _key(stat) for path, stat in stats.items()}
    found: dict[Path, str | None] = {**_unchanged(kept, keys)}
    left = [path for path in paths if path not in found]
    begin = time.time_ns()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        told = pool.map(find, left)
        fresh = dict(zip(left, tqdm(told, "reading files", len(left), leave=False, delay=1, disable=not progress)))
    settled = {
        os.fsencode(path).hex(): [keys[path], content]
        for path, content in fresh.items()
        if content is not None and max(stats[path].st_mtime_ns, stats[path].st_ctime_ns) < begin - _SETTLED_NS
    }
    if settled and file is not None:
        _remember(file, {**kept, **settled})
    return {**found, **fresh}


def recall(paths: Sequence[Path], kind: str) -> dict[Path, str]:
    """Give what :func:`find_out` found of the same files before, as far as the user's cache remembers it."""
    file = _file_of(paths, kind, None) if paths else None
    if file is None or not file.is_file():
        return {}
    return _unchanged(_remembered(file), {path: _key(check_regular_file(path, MEND, MISSING)) for path in paths})


def _file_of(paths: Sequence[Path], kind: str, cache: Path | None) -> Path | None:
    folder = cache or user_cache()
    return None if folder is None else folder / kind / f"{_name(paths)}.json"


def _key(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _unchanged(kept: dict, keys: dict[Path, str]) -> dict[Path, str]:
    found = {}
    for path, key in keys.items():
        before = kept.get(os.fsencode(path).hex())
        if isinstance(before, list) and len(before) == 2 and before[0] == key and isinstance(before[1], str):
            found[path] = before[1]
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
