"""The files of a folder: everything below it, linked folders too; what is hidden; which are pictures, which masks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from protomask.data import dicom
from protomask.data.problems import noted
from protomask.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp", *dicom.SUFFIXES)
_MASK = re.compile(r"(?P<name>.+)_mask(_\d+)?", re.IGNORECASE)


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is none of the user's: hidden, or an archive's leftovers."""
    return name.startswith(".") or name == "__MACOSX"


def files_below(folder: Path, links: bool = True) -> list[Path]:
    """List everything below ``folder`` that is no folder, sorted, without what is hidden or in a hidden folder.

    Args:
        folder: where to look.
        links: look into linked folders, too: into each folder once, by its own path rather than a link's, and into none
            in which ``folder`` or the link itself lies.
    """
    found, waiting, seen = [], [folder], set()
    while waiting:
        top = waiting.pop(0)
        if top != folder and _lies_in(os.path.realpath(top), folder, top.parent):
            continue
        for parent, folders, names in os.walk(top):
            real = os.path.realpath(parent)
            folders[:] = sorted(name for name in folders if not is_hidden(name)) if real not in seen else []
            if real not in seen:
                seen.add(real)
                found += [Path(parent, name) for name in names if not is_hidden(name)]
                # Those that were there without a link come first, and keep their names.
                waiting += [Path(parent, name) for name in folders if links and os.path.islink(Path(parent, name))]
    return sorted(found)


def _lies_in(outer: str, *inner: Path) -> bool:
    return any(Path(os.path.realpath(each)).is_relative_to(outer) for each in inner)


def sort_out(files: Sequence[Path], called: str = "") -> tuple[list[Path], list[Path]]:
    """Tell pictures to learn from, and masks, by their names; what is neither is left out.

    ``NAME_mask`` and ``NAME_mask_1`` are masks where ``NAME`` lies beside them, with any suffix of a picture. Where it
    does not, they are pictures, but for PNG files, which hardly are: masks that lost their picture.

    Args:
        files: all that lie there.
        called: the class; of one that is called ``with_mask`` a PNG file ``with_mask_0.png`` is a picture.
    """
    readable = [path for path in files if path.suffix.lower() in SUFFIXES]
    there = {path.with_suffix("") for path in readable}
    of_masks = called.casefold() if _MASK.fullmatch(called) else None
    pictures: list[Path] = []
    masks: list[Path] = []
    for path in readable:
        name = _pictures_name(path)
        beside = name is not None and path.with_name(name) in there
        lost = name is not None and path.suffix.lower() == ".png"
        if lost and of_masks is not None and path.name.casefold().startswith(of_masks):
            lost = False
        (masks if beside or lost else pictures).append(path)
    return pictures, masks


def find_masks(paths: Sequence[Path]) -> list[list[Path]] | None:
    """Find the mask files beside each picture, or None where no picture has one.

    Raises:
        InputError: some pictures have masks and others have none.
    """
    listings: dict[Path, dict[str, list[Path]]] = {}
    for folder in {path.parent for path in paths}:
        listings[folder] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and (name := _pictures_name(path)) is not None:
                listings[folder].setdefault(name, []).append(path)
    masks = [listings[path.parent].get(path.stem, []) for path in paths]
    if not any(masks):
        return None
    other, own = next((path, found[0]) for path, found in zip(paths, masks) if found)
    for path, found in zip(paths, masks):
        with noted():
            if not found:
                raise InputError(
                    f"{path}: has no mask although {other.parent.name}/{other.name} has ({own.name}); add "
                    f"{path.stem}_mask.png (all zero if there is no object), or call that file otherwise"
                )
    return masks


def picture_of(mask: Path) -> Path:
    """Give the path, without suffix, of the picture that a mask belongs to."""
    return mask.with_name(_pictures_name(mask) or mask.stem)


def _pictures_name(path: Path) -> str | None:
    """Name the picture whose mask a file is by its name; None for any other name."""
    match = _MASK.fullmatch(path.stem)
    return match["name"] if match else None
