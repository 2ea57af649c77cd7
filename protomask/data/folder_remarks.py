"""What a folder of pictures holds that is easily overlooked: unread files, stray masks, copies, dark pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from protomask.data.depth import depth_remark
from protomask.data.duplicates import copy_groups
from protomask.data.files import FileImages
from protomask.data.folder_files import SUFFIXES, files_below, is_hidden, picture_of, sort_out
from protomask.data.folder_splits import is_split_name
from protomask.data.images import Splits

# Files that nobody takes for pictures.
_WORDS = {".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".yaml", ".yml", ".html", ".log", ".db", ".ini", ".py"}


def find_remarks(splits: Splits, folders: Sequence[Path], root: Path) -> list[str]:
    """Say in one line each what was left unread below the class folders, and which pictures are copies of others.

    Args:
        splits: as opened by ``folder``.
        folders: those that hold the class folders.
        root: of the data set.
    """
    found: list[str | None] = [*_classes(splits, folders, root), *_unread(splits, folders, root), *copies(splits)]
    every = splits.train
    if isinstance(every, FileImages) and every.intensity_range is None:
        found.append(depth_remark(every.paths))
    return [f"{root}: {remark}" for remark in found if remark]


def _classes(splits: Splits, folders: Sequence[Path], root: Path) -> Iterable[str]:
    for name in splits.train.classes:
        if list(folders) == [root] and is_split_name(name):
            yield f"{name}/ holds pictures, so it is a class; as a split it would hold a folder for each class"


def copies(splits: Splits) -> Iterable[str]:
    """Say which pictures occur in two classes, and which in two splits."""
    places = [
        (part, data.labels[at].tolist(), data.names[at], data.paths[data.stored(at)])
        for part in ("train", "validation", "test")
        for data in [getattr(splits, part)]
        for at in range(len(data))
    ]
    groups = copy_groups([path for *_, path in places]).tolist()
    order = sorted(range(len(places)), key=lambda at: (groups[at], at))
    alike = [[places[at] for at in own] for _, own in groupby(order, key=lambda at: groups[at])]
    alike = [own for own in alike if len(own) > 1]
    torn = [own for own in alike if len({str(label) for _, label, *_ in own}) > 1]
    if torn:
        one, other = next((a, b) for a in torn[0] for b in torn[0] if str(a[1]) != str(b[1]))
        yield (
            f"{counted(len(torn), 'picture')} in two classes at once (first: {one[2]} and {other[2]} are copies); "
            "remove the wrong ones"
        )
    for later, before in (("test", ("train", "validation")), ("validation", ("train",))):
        leaks = [own for own in alike if {part for part, *_ in own} & {*before} and any(e[0] == later for e in own)]
        if leaks:
            one = next(each for each in leaks[0] if each[0] in before)
            other = next(each for each in leaks[0] if each[0] == later)
            number = sum(each[0] == later for own in leaks for each in own)
            yield (
                f"{counted(number, f'{later} picture')} with a copy among those of {' and '.join(before)} (first: "
                f"{other[2]} and {one[2]}), so what is measured there is too good; remove them from one side"
            )


def _unread(splits: Splits, folders: Sequence[Path], root: Path) -> Iterable[str]:
    read = set(splits.train.paths) if isinstance(splits.train, FileImages) else set()
    stems = {path.with_suffix("") for path in read}
    # Links are followed where classes are read, and nowhere else: they may lead anywhere.
    below = {path for folder in folders for path in files_below(folder)}
    if list(folders) != [root]:
        below.update(files_below(root, links=False))
    files = _without_known(sorted(below - read), read)
    pictures, masks = sort_out(sorted({*files, *read}))
    inside = [path for path in masks if path not in read and any(path.is_relative_to(folder) for folder in folders)]
    alone = [path for path in inside if picture_of(path) not in stems]
    if alone:
        yield f"{counted(len(alone), 'mask')} without a picture of that name (first: {alone[0].relative_to(root)})"
    stray = [path for path in pictures if path not in read]
    if stray:
        yield (
            f"{counted(len(stray), 'picture')} in no class folder of a split, so unread (first: "
            f"{stray[0].relative_to(root)})"
        )
    suffixes = Counter(
        path.suffix.lower() or "without suffix"
        for path in files
        if path.suffix.lower() not in _WORDS and path.suffix.lower() not in SUFFIXES and not is_hidden(path.name)
    )
    if suffixes:
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in suffixes.most_common(5))
        files_of = counted(suffixes.total(), "file")
        yield f"{files_of} of a kind that is not read ({kinds}); read are {', '.join(SUFFIXES)}"


def _without_known(files: Sequence[Path], known: set[Path]) -> list[Path]:
    """Leave out files that are known by the path of a link to a folder of theirs."""
    folders: dict[Path, str] = {}

    def real(path: Path) -> tuple[str, str]:
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
        return folders[path.parent], path.name

    read = {real(path) for path in known} if files else set()
    return [path for path in files if real(path) not in read]


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
