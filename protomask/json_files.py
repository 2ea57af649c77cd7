"""JSON that is read again: written whole and with a checksum, read strictly."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from protomask.errors import InputError
from protomask.files import parse_json, read_bytes, write_atomically

CHECKSUM = "checksum"
"""The last key of an object, or of each of a list's objects: of all that stands before it."""

ROWS = "rows"
"""In every line of a ``.jsonl`` file how many there are, so that a file cut between two lines is noticed"""


def write_json(path: str | Path, content: dict | list) -> None:
    """Write an object, or a list of objects (one a line where ``path`` ends in ``.jsonl``); NaN becomes ``null``.

    Raises:
        InputError: it cannot be written; a file that stood there is untouched.
    """
    text = json_text(path, content)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def json_text(path: str | Path, content: dict | list) -> str:
    """Give what :func:`write_json` writes to ``path``, with checksums."""
    if Path(path).suffix == ".jsonl":
        sealed = with_checksum([{**row, ROWS: len(content)} for row in content])
        return "".join(json.dumps(row) + "\n" for row in sealed)
    return json.dumps(with_checksum(content), indent=1) + "\n"


def read_json(path: str | Path, mend: str = "restore it") -> dict | list:
    """Read what :func:`write_json` wrote, without the checksums; what has none (older, or written by hand) is taken.

    Raises:
        InputError: missing, no regular file, no strict JSON, or changed since it was written.
    """
    content = read_bytes(path, mend)
    if Path(path).suffix == ".jsonl":
        rows = [parse_json(line, path, mend) for line in content.splitlines()]
        return _without_count(without_checksum(rows, path, mend), path, mend)
    return without_checksum(parse_json(content, path, mend), path, mend)


def with_checksum(content: dict | list) -> dict | list:
    """Give ``content`` with a checksum in it, and ``None`` in place of numbers that JSON does not know."""
    content = _finite(content)
    if isinstance(content, dict):
        kept = {key: value for key, value in content.items() if key != CHECKSUM}
        return {**kept, CHECKSUM: _digest(kept)}
    return [with_checksum(row) if isinstance(row, dict) else row for row in content]


def without_checksum(content, path: str | Path, mend: str):
    """Compare the checksums of ``content``, and take them out.

    Raises:
        InputError: one differs.
    """
    if isinstance(content, list):
        return [without_checksum(row, path, mend) if isinstance(row, dict) else row for row in content]
    if not isinstance(content, dict):
        return content
    last = next(reversed(content), "")
    if CHECKSUM not in content and sum(a != b for a, b in zip(last, CHECKSUM)) <= 1 and len(last) == len(CHECKSUM):
        raise InputError(f"{path} is damaged (its checksum is named {last!r}); {mend}")
    if CHECKSUM not in content:
        return content
    kept = {key: value for key, value in content.items() if key != CHECKSUM}
    if content[CHECKSUM] != _digest(kept):
        raise InputError(
            f"{path} is damaged (its checksum differs: it changed after it was written); {mend}, or take the "
            f'"{CHECKSUM}" out if the change is meant'
        )
    return kept


def _without_count(rows: list, path: str | Path, mend: str) -> list:
    counts = [row.pop(ROWS, None) for row in rows if isinstance(row, dict)]
    told = [count for count in counts if count is not None]  # older files do not tell
    if told and told != [len(rows)] * len(rows):
        raise InputError(f"{path} is damaged ({len(rows)} lines, and once it had another number of them); {mend}")
    return rows


def _digest(content: dict) -> str:
    return hashlib.blake2b(json.dumps(content, separators=(",", ":")).encode(), digest_size=8).hexdigest()


def _finite(content):
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
