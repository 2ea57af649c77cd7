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


def write_json(path: str | Path, content: dict | list) -> None:
    """Write an object, or a list of objects (one a line where ``path`` ends in ``.jsonl``); NaN becomes ``null``.

    Raises:
        InputError: it cannot be written; a file that stood there is untouched.
    """
    sealed = with_checksum(content)
    if Path(path).suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in sealed)
    else:
        text = json.dumps(sealed, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: str | Path, mend: str = "restore it") -> dict | list:
    """Read what :func:`write_json` wrote, without the checksums; what has none (older, or written by hand) is taken.

    Raises:
        InputError: missing, no regular file, no strict JSON, or changed since it was written.
    """
    content = read_bytes(path, mend)
    parsed: object
    if Path(path).suffix == ".jsonl":
        parsed = [parse_json(line, path, mend) for line in content.splitlines()]
    else:
        parsed = parse_json(content, path, mend)
    return without_checksum(parsed, path, mend)


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


def _digest(content: dict) -> str:
    return hashlib.blake2b(json.dumps(content, separators=(",", ":")).encode(), digest_size=8).hexdigest()


def _finite(content):
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
