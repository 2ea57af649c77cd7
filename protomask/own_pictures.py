"""Pictures among photographs that an earlier command wrote there, or a call: panels, overlays, contact sheets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from protomask.errors import InputError
from protomask.files import check_regular_file
from protomask.json_files import read_json

PANELS = "panels.json"
"""of ``protomask explain``: whose each panel beside it is"""
RECORD, SUMMARY, CONTACT_SHEET = "record.json", "localize.json", "contact-sheet.png"
"""of ``protomask localize``: within a picture's folder, above these, and what all overlays are on"""
SIGNED = {"Software": "protomask"}
"""what a PNG of ours says of itself, wherever somebody has it saved (matplotlib's ``metadata``)"""
_SIGNATURE, _HEAD = b"tEXtSoftware\0protomask", 1024
"""what that is in the file, and within how many bytes from its beginning"""
_PANEL_ENDINGS = (".png", ".gif")


def own_pictures(output: Path | None = None) -> Callable[[Path], bool]:
    """Give what tells whether a file is a picture that protomask wrote.

    Args:
        output: folder of ``protomask localize`` in which nothing may be finished yet.
    """
    folder_of_maps = None if output is None else output.resolve()

    @cache
    def panels(folder: Path) -> frozenset[str]:
        try:
            content = read_json(folder / PANELS)
        except InputError:
            return frozenset()  # there is none, or whoever writes panels there says what is wrong with it
        names = content.get("panels") if isinstance(content, dict) else None
        return frozenset(names if isinstance(names, dict) else ())

    @cache
    def has_maps(folder: Path) -> bool:
        return (folder / RECORD).is_file() or (folder.parent / SUMMARY).is_file() or folder.parent == folder_of_maps

    def is_own(path: Path) -> bool:
        path = path.resolve()
        if path.suffix in _PANEL_ENDINGS and path.stem in panels(path.parent):
            return True
        if path.name == CONTACT_SHEET and (path.parent / SUMMARY).is_file():
            return True
        if path.suffix.lower() == ".png" and _is_signed(path):
            return True
        # The map is written before its overlay, the record after both.
        return path.suffix == ".png" and has_maps(path.parent) and path.with_suffix(".npy").is_file()

    return is_own


def _is_signed(path: Path) -> bool:
    try:
        check_regular_file(path)  # a named pipe would be waited for without end
        with open(path, "rb") as file:
            return _SIGNATURE in file.read(_HEAD)
    except (OSError, InputError):
        return False  # whoever reads the picture says what is wrong with it
