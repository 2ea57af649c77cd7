"""In which order the files of a folder were written."""

from pathlib import Path


def assert_written_last(path: Path):
    """Nothing else in its folder, or below, was written after it."""
    later = [
        each.name
        for each in path.parent.rglob("*")
        if each.is_file() and each.stat().st_mtime_ns > path.stat().st_mtime_ns
    ]
    assert not later, later
