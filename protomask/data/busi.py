"""``busi``: breast ultrasound images of three classes, with lesion masks (Al-Dhabyani et al., Data in Brief 28, 2020).

As published::

    benign/benign (1).png    benign/benign (1)_mask.png    and for further lesions benign (100)_mask_1.png...
    malignant/...            normal/...                     with empty masks

Images and masks may be of any format that ``folder`` reads. The publication has no split and names no patients, and
some images are near-duplicates of others. A file ``annotations.csv`` in the folder may give the split, with the header
``file,label,split,group``: the path below the folder, the class, ``train``, ``validation`` or ``test``, and a number
that near-duplicates share; other columns are ignored. Without it the split is ours: near-duplicates are found by the
correlation of thumbnails and stay on one side, classes are stratified, the seed decides.

A sample's ``mask`` is the union of the image's lesions, its ``boxes`` hold one box for each lesion (none for a normal
image). Grey images come with three equal channels. Known faults: burnt-in text, calipers and body marks may leak the
label; a few near-duplicates have different labels.
"""

import csv
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from protomask.data.cache import CAP
from protomask.data.duplicates import near_duplicate_groups
from protomask.data.files import FileImages
from protomask.data.folder import find_pictures
from protomask.data.folder_files import find_masks
from protomask.data.folder_remarks import counted
from protomask.data.images import Splits
from protomask.data.masks import mask_box
from protomask.data.problems import noted
from protomask.data.splitting import check_share, hold_out_groups, ranks
from protomask.data.tables import is_named, open_csv
from protomask.errors import InputError
from protomask.files import check_folder

CLASSES = ("benign", "malignant", "normal")
_FOLDER = "Dataset_BUSI_with_GT"
_SPLITS = ("train", "validation", "test")
_HEADER = ("file", "label", "split", "group")


def load(
    root: Path | None,
    *,
    image_size: int | None = None,
    cache: int = CAP,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.25,
) -> Splits:
    """Open the data set; ``root`` is the folder with the class folders, or the one that holds Dataset_BUSI_with_GT.

    Args:
        root: see the module's description.
        image_size, cache: see :class:`FileImages`.
        seed: of the split, as far as it is ours.
        validation: share of the training images of each class, held out by whole groups of near-duplicates, unless
            annotations.csv names validation images.
        test: share of each class that is the test set, where there is no annotations.csv.

    Raises:
        InputError: the folder is not one; a file is missing; a row of annotations.csv is wrong, or its groups are torn.
    """
    check_share("validation", validation)
    check_share("test", test)
    root = _find(root)
    table, find_remarks = root / "annotations.csv", None
    if is_named(table):
        rows = [row for row in _annotations(table) if _is_there(root, row, table)]
        paths = [root / name for name, *_ in rows]
        labels = [CLASSES.index(label) for _, label, *_ in rows]
        groups = ranks([group for _, _, _, group, _ in rows])
        members = {part: [at for at, row in enumerate(rows) if row[2] == part] for part in _SPLITS}
        find_remarks = partial(_remarks, root, table, rows)
    else:
        found = [(name, path) for name, path in find_pictures(root, CLASSES)]
        paths = [path for _, path in found]
        labels = [CLASSES.index(name) for name, _ in found]
        groups = near_duplicate_groups(paths)
        training, held = hold_out_groups(labels, groups, test, seed)
        members = {"train": training.tolist(), "validation": [], "test": held.tolist()}
    if not members["validation"]:
        at = torch.tensor(members["train"], dtype=torch.long)
        kept, held = hold_out_groups(torch.tensor(labels, dtype=torch.long)[at], groups[at], validation, seed)
        members |= {"train": at[kept].tolist(), "validation": at[held].tolist()}
    masks = find_masks(paths)
    lesions = [_boxes(own) for own in masks] if masks is not None else [[] for _ in paths]
    every = FileImages(
        CLASSES,
        labels,
        [path.relative_to(root).as_posix() for path in paths],
        paths,
        lesions,
        masks=masks,
        image_size=image_size,
        cache=cache,
        boxes_from="the masks",
    )
    train_images, held_images, test_images = (every.subset(members[part]) for part in _SPLITS)
    return Splits(train_images, held_images, test_images, find_remarks)


def _remarks(root: Path, table: Path, rows: list[tuple[str, str, str, int, int]]) -> list[str]:
    """Say which pictures have no row, and which rows a label that is not their folder."""
    with open_csv(table) as file:  # rows that are wrong, which a check has told, are rows too
        named = {Path(row["file"] or "").as_posix() for row in csv.DictReader(file)}
    names = []
    with suppress(InputError):  # a class folder without pictures, where the table names others
        names = [path.relative_to(root).as_posix() for _, path in find_pictures(root, CLASSES)]
    unread = [name for name in names if name not in named]
    other = [(name, label, line) for name, label, *_, line in rows if _folder_of(name) not in (None, label)]
    found = []
    if unread:
        found.append(
            f"{table}: {counted(len(unread), 'picture')} in the class folders without a row in {table.name}, so unread "
            f"(first: {unread[0]}); add rows for them, or move them away"
        )
    if other:
        name, label, line = other[0]
        found.append(
            f"{table}: {counted(len(other), 'row')} whose label is not their folder (first: line {line}, {name} is "
            f"{label}), so that the label counts; mend those that are wrong"
        )
    return found


def _folder_of(name: str) -> str | None:
    """Name the class folder that a picture lies in; None for another one."""
    folder = name.split("/")[0]
    return folder if folder in CLASSES else None


def _find(root: Path | None) -> Path:
    if root is None:
        raise InputError(f"data set 'busi' needs a root: the folder {_FOLDER}, which holds {', '.join(CLASSES)}")
    root = Path(root)
    check_folder(root, f"root must be {_FOLDER} or the folder that holds it")
    for folder in (root, root / _FOLDER):
        if all((folder / name).is_dir() for name in CLASSES):
            return folder
    raise InputError(f"{root}: not a BUSI folder; expected the folders {', '.join(CLASSES)} in it or in {_FOLDER}/")


def _boxes(masks: list[Path]) -> list[tuple[int, int, int, int]]:
    """Give the box of each mask that has an object."""
    boxes = []
    for mask in masks:
        with noted():
            boxes.append(mask_box(mask))
    return [box for box in boxes if box is not None]


def _is_there(root: Path, row: tuple, table: Path) -> bool:
    """Whether the image of a row exists; raises, or notes, that it does not."""
    name, *_, line = row
    with noted():
        if not is_named(root / name):
            raise InputError(f"{table}:{line}: {root / name}: no such image file; restore it, or remove the row")
        return True
    return False


def _annotations(path: Path) -> list[tuple[str, str, str, int, int]]:
    """(file, label, split, group) of each row, and the number of its line."""
    rows, seen = [], set()
    sides: dict[int, str] = {}
    with open_csv(path) as file:
        reader = csv.DictReader(file)
        missing = [column for column in _HEADER if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}:1: no column {missing[0]!r}; the header must have {','.join(_HEADER)}")
        for row in reader:
            with noted():
                where = f"{path}:{reader.line_num}"
                name, label, split, group = _row(row, where)
                if name in seen:
                    raise InputError(f"{where}: {name} occurs twice; remove one of the rows")
                side = sides.setdefault(group, split)
                if side != split:
                    raise InputError(
                        f"{where}: group {group} is in {side} and in {split}; put near-duplicates on one side"
                    )
                seen.add(name)
                rows.append((name, label, split, group, reader.line_num))
    return rows


def _row(row: dict[str, str | None], where: str) -> tuple[str, str, str, int]:
    name, label, split, group = (row[column] or "" for column in _HEADER)
    if not name:
        raise InputError(f"{where}: no file; expected {','.join(_HEADER)}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{where}: {name} is no path below the data set's folder; write it as {CLASSES[0]}/NAME.png")
    for column, value, known in (("label", label, CLASSES), ("split", split, _SPLITS)):
        if value not in known:
            raise InputError(f"{where}: {column} {value!r} is unknown; it must be one of {', '.join(known)}")
    try:
        return Path(name).as_posix(), label, split, int(group)
    except ValueError:
        raise InputError(f"{where}: group {group!r} is no whole number; near-duplicates share one") from None
