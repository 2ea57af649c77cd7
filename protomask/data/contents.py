"""What is in a data set's files, remembered by size and time of change, so that a change of one pixel is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protomask.data.images import AnnotatedImages, Splits
from protomask.data.raster import MEND, MISSING
from protomask.data.remembered import find_out
from protomask.files import content_digest

SPLITS = ("train", "validation", "test")


def split_contents(splits: Splits) -> dict[str, str]:
    """Digest each split to 16 hexadecimal digits: classes, names, labels, order, annotations, every byte of the files.

    What images are read from instead of files (the table of a Hugging Face data set) counts as a whole. Files are read
    once; later their sizes and times of change are compared with what the user's cache remembers.
    """
    return {name: content_of(getattr(splits, name)) for name in SPLITS}


def data_change(known: Mapping[str, Any], splits: Splits) -> str:
    """Say in what the data differ from those of a run; empty where they do not.

    Args:
        known: ``fingerprint``, of the training images' names, labels and sizes, and ``contents``, of
            :func:`split_contents`. What is missing (in runs of older versions) is not compared.
    """
    before, now = known.get("fingerprint"), splits.train.fingerprint()
    if before not in (None, now):
        return f"fingerprint {now}, not {before}"
    changed = changed_splits(known, splits)
    return f"images or annotations for {' and '.join(changed)} differ" if changed else ""


def changed_splits(known: Mapping[str, Any], splits: Splits) -> list[str]:
    """Name the splits whose contents are not those of a run; ``known`` as for :func:`data_change`."""
    contents = known.get("contents")
    if not contents:
        return []
    found = split_contents(splits)
    changed = [name for name in SPLITS if contents.get(name, found[name]) != found[name]]
    # Runs of older versions do not know the bytes that are in no file.
    return [name for name in changed if contents[name] != content_of(getattr(splits, name), files_alone=True)]


def content_of(data: AnnotatedImages, files_alone: bool = False) -> str:
    """Digest names, labels, annotations and every byte of the files and tables of a split.

    Args:
        files_alone: without the tables, as older versions did.
    """
    stored = [data.stored(position) for position in range(len(data))]
    files = [data.files(index) for index in stored]
    known = file_digests([path for own in files for path in own])
    digest = hashlib.blake2b(repr((data.classes, data.part_names)).encode("utf-8", "surrogateescape"), digest_size=8)
    for index, own, label, name in zip(stored, files, data.labels.tolist(), data.names):
        row = (name, label, data.identity(index), data.annotations(index), [known[path] for path in own])
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    if len(data) and not files_alone:
        digest.update(data.table_content().encode())
    return digest.hexdigest()


def file_digests(paths: Sequence[Path], cache: Path | None = None) -> dict[Path, str]:
    """Digest the content of files, from the cache where size and time of change are the same.

    Args:
        cache: folder that remembers; by default the user's.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    found = find_out(paths, "contents", lambda path: content_digest(path, MEND, MISSING).hex(), cache)
    return {path: digest for path, digest in found.items() if digest is not None}
