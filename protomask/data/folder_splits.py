"""Which folders are the splits of a data set in folders: the usual names, and those that only look like one."""

from __future__ import annotations

import re
from pathlib import Path

from protomask.data.folder_files import files_below, is_hidden, sort_out
from protomask.errors import InputError

NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "val", "valid"),
}
"""Split -> its folder's name, in any case."""

_PART_OF: dict[str, str] = {name: part for part, names in NAMES.items() for name in names}
# As names of classes these are usual (vehicles, forms); who calls a folder test or val means images to measure on.
_ALSO_CLASSES = {"train", "training", "valid"}
# What is left of "Train-Set 2", "test_images", "TrainData" without these is a split's name.
_FILLERS = "sets?|data|dataset|images?|imgs?|pictures?|split|folder|part"
# Alone these may be classes; where all folders are called so, they are not.
_OTHER_WORDS = {"dev", "eval", "evaluation", "holdout", "fold", "split", "tr", "ts", "te", "trn", "tst"}
_LAYOUT = "call the splits train/, test/ and, if you like, validation/"


def find_splits(root: Path) -> dict[str, Path]:
    """Find split -> its folder; a single split "" where the class folders lie in root itself.

    One folder alone that is called train, training or valid, but holds pictures and no folders, is a class beside
    other classes.

    Raises:
        InputError: a split is missing or there twice; a folder looks like one but is called otherwise, so that it would
            be learned as a class or ignored; there are splits within classes.
    """
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    found: dict[str, list[Path]] = {part: [] for part in NAMES}
    for folder in folders:
        if part := _PART_OF.get(folder.name.casefold()):
            found[part].append(folder)
    for part, order in NAMES.items():
        named = found[part]
        # The plainest name first.
        named.sort(key=lambda folder: (order.index(folder.name.casefold()), folder.name))
        if len(named) > 1:
            raise InputError(f"{root}: has both {named[0].name}/ and {named[1].name}/; keep one of them")
    _refuse_likenesses(root, folders)
    if not any(found.values()) or _is_class(found, folders):
        _refuse_splits_within(folders)
        return {"": root}
    for part, other in (("train", "test"), ("test", "train")):
        if not found[part]:
            has = next(iter(found[other] or found["validation"])).name
            raise InputError(f"{root}: has {has}/ but no {part}/; add it, or put the class folders straight into root")
    return {part: named[0] for part, named in found.items() if named}


def is_split_name(name: str) -> bool:
    """Tell whether a folder of this name is a split, where it holds folders of classes."""
    return name.casefold() in _PART_OF


def _is_class(found: dict[str, list[Path]], folders: list[Path]) -> bool:
    """Whether the one folder with a split's name is a class, as of trains: pictures alone in it, others beside it."""
    named = [folder for own in found.values() for folder in own]
    if len(named) != 1 or named[0].name.casefold() not in _ALSO_CLASSES:
        return False
    if any(entry.is_dir() and not is_hidden(entry.name) for entry in named[0].iterdir()):
        return False
    others = [folder for folder in folders if folder != named[0]]
    return _has_pictures(named[0]) and any(map(_has_pictures, others))


def _has_pictures(folder: Path) -> bool:
    return bool(sort_out(files_below(folder), folder.name)[0])


def _refuse_likenesses(root: Path, folders: list[Path]) -> None:
    unknown = [folder for folder in folders if folder.name.casefold() not in _PART_OF]
    like = [folder for folder in unknown if _plain(folder.name) in _PART_OF]
    others = [folder for folder in unknown if _plain(folder.name) in _OTHER_WORDS]
    if not like and others and (len(others) == len(folders) or len(unknown) < len(folders)):
        like = others  # all of them, or beside a split
    if like:
        raise InputError(f"{root}: {like[0].name}/ looks like a split, not like a class; {_LAYOUT}, or move it away")


def _refuse_splits_within(classes: list[Path]) -> None:
    for folder in classes:
        parts = {_PART_OF.get(entry.name.casefold()) for entry in folder.iterdir() if entry.is_dir()}
        if {"train", "test"} <= parts or {"train", "validation"} <= parts:
            raise InputError(
                f"{folder}: has splits within a class, which would be mixed; put the classes into them: "
                f"train/{folder.name}/, test/{folder.name}/"
            )


def _plain(name: str) -> str:
    words = [word for word in re.findall(r"[^\W\d_]+", name.casefold()) if not re.fullmatch(_FILLERS, word)]
    return re.sub(f"(?<=.)({_FILLERS})$", "", "".join(words))
