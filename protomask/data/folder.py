"""``folder``: pictures in a folder for each class, with optional boxes and masks.

::

    ROOT/train/CLASS/*.jpg    ROOT/test/CLASS/*.jpg    and, if you like, ROOT/validation/CLASS/*.jpg

(or ``training``, ``testing``, ``val``, ``valid``, in any case) or, without a split of its own, ``ROOT/CLASS/*.jpg``:
then a share of each class is the test set, always the same. Hidden files and folders do not count.

Boxes: ``ROOT/boxes.csv`` with the header ``file,x0,y0,x1,y1``; ``file`` is the path below ROOT, the box is in pixels of
the upright image, end-exclusive; several rows for an image are several boxes; other columns (``label``) are ignored.

Masks: beside the image ``NAME.jpg`` a file ``NAME_mask.png``, as large as the image, 0 on the background; further ones
``NAME_mask_1.png``, ``NAME_mask_2.png``... are added to it. Other formats than PNG will do, but for DICOM; of one that
compresses with losses, such as JPEG, what is brighter than half of its brightest pixel is on the object. Either every
image has a mask (an all-zero one where there is no object), or none.
"""

import csv
import math
import os
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from protomask.data.cache import CAP
from protomask.data.depth import IntensityRange
from protomask.data.duplicates import copy_groups
from protomask.data.files import FileImages
from protomask.data.folder_files import SUFFIXES, files_below, find_masks, is_hidden, sort_out
from protomask.data.folder_remarks import find_remarks
from protomask.data.folder_splits import find_splits
from protomask.data.geometry import LEAST_SIDE
from protomask.data.images import Splits
from protomask.data.problems import noted
from protomask.data.splitting import check_share, hold_out, hold_out_copies
from protomask.data.tables import is_named, open_csv
from protomask.errors import InputError
from protomask.files import check_folder

SHARE = 0.2
"""of each class that is the test set, where there is none"""
_SPLITS = ("train", "validation", "test")
_HEADER = ("file", "x0", "y0", "x1", "y1")


def load(
    root: Path | None,
    *,
    crop: bool = False,
    image_size: int | None = None,
    cache: int = CAP,
    seed: int = 0,
    test: float | None = None,
    validation: float = 0.1,
    intensity_range: IntensityRange | None = None,
) -> Splits:
    """Open a folder of pictures.

    Where a share is taken out, copies of a picture (see :func:`protomask.data.duplicates.copy_groups`) stay together.

    Args:
        root: see the module's description.
        crop: cut each image that has boxes to the box around them; images without a box stay whole.
        image_size, cache, intensity_range: see :class:`FileImages`.
        seed: of the choice of validation images; the test set does not depend on it.
        test: which share of each class is the test set, where the folder has no split of its own; 0.2 by default.
        validation: which share of each class's training images is held out, unless the folder has validation images.

    Raises:
        InputError: the folder is missing or empty, a class has no image, or a row of boxes.csv is wrong.
    """
    if root is None:
        raise InputError("data set 'folder' needs a root: a folder with train/CLASS/ and test/CLASS/, or with CLASS/")
    root = Path(root)
    check_share("test", SHARE if test is None else test)
    check_share("validation", validation)
    check_folder(root, "root must hold train/CLASS/ and test/CLASS/, or CLASS/ folders")
    parts = find_splits(root)
    if test is not None and parts.keys() != {""}:
        raise InputError(f"{root}: has test images of its own ({parts['test'].name}/); leave out the share of others")
    found = [(part, name, path) for part, folder in parts.items() for name, path in find_pictures(folder)]
    classes = sorted({name for _, name, _ in found})
    paths = [path for _, _, path in found]
    names = [path.relative_to(root).as_posix() for path in paths]
    labels = [classes.index(name) for _, name, _ in found]
    boxes, lines = _boxes(root, names)
    every = FileImages(
        classes,
        labels,
        names,
        paths,
        boxes,
        masks=find_masks(paths),
        crop=crop,
        image_size=image_size,
        cache=cache,
        boxes_from=str(root / "boxes.csv"),
        box_lines=lines,
        intensity_range=intensity_range,
    )
    members = {key: [at for at, (part, _, _) in enumerate(found) if part == key] for key in _SPLITS}
    groups = None
    if parts.keys() == {""}:
        groups = copy_groups(paths)
        kept, held = hold_out_copies(labels, groups, SHARE if test is None else test)
        if not len(held) and len(hold_out(labels, SHARE if test is None else test)[1]):
            raise InputError(
                f"{root}: in no class are there pictures that are no copies of each other, so none can be kept for "
                "testing; add others"
            )
        members["train"], members["test"] = kept.tolist(), held.tolist()
    if validation > 0 and not members["validation"]:
        at = torch.tensor(members["train"], dtype=torch.long)
        groups = copy_groups(paths) if groups is None else groups
        kept, held = hold_out_copies(torch.tensor(labels, dtype=torch.long)[at], groups[at], validation, seed)
        members["train"], members["validation"] = at[kept].tolist(), at[held].tolist()
    train_images, held_images, test_images = (every.subset(members[key]) for key in _SPLITS)
    splits = Splits(train_images, held_images, test_images)
    return replace(splits, find_remarks=partial(find_remarks, splits, list(parts.values()), root))


def find_pictures(folder: Path, only: Collection[str] | None = None) -> list[tuple[str, Path]]:
    """List (class, path) of every picture below the class folders of ``folder``, sorted.

    Args:
        folder: holds the class folders.
        only: the names of those to look into; None for all.
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    if only is not None:
        classes = [entry for entry in classes if entry.name in only]
    if not classes:
        raise InputError(f"{folder}: no class folders in it; expected one folder of pictures for each class")
    pictures, whole = [], Path(os.path.realpath(folder))
    for entry in classes:
        if whole.is_relative_to(os.path.realpath(entry)):
            raise InputError(f"{entry}: is a link to {os.path.realpath(entry)}, in which it lies itself; remove it")
        found, masks = sort_out(files_below(entry), entry.name)
        with noted():
            if not found and masks:
                raise InputError(
                    f"{entry}: no pictures in this class folder but masks, as {masks[0].name} is by its name; "
                    "add pictures, call these otherwise, or remove the folder"
                )
            if not found:
                known = ", ".join(SUFFIXES)
                raise InputError(f"{entry}: no pictures ({known}) in this class folder; add some or remove it")
        pictures += [(entry.name, path) for path in found]
    return pictures


def require_boxes(root: Path) -> None:
    """Raise InputError where boxes.csv, which can be read if it is there, has no row: there is nothing to crop to."""
    path = root / "boxes.csv"
    if is_named(path):
        with open_csv(path) as file:
            if any(csv.DictReader(file)):
                return
    raise InputError(f"{root}: no image has a box to crop to; add boxes.csv with {','.join(_HEADER)}, or do not crop")


def _boxes(root: Path, names: list[str]) -> tuple[list[list[tuple[float, ...]]], list[list[int]]]:
    """For each picture its boxes, and their lines in boxes.csv."""
    path = root / "boxes.csv"
    boxes: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    lines: dict[str, list[int]] = {name: [] for name in names}
    if not is_named(path):
        return list(boxes.values()), list(lines.values())
    with open_csv(path) as file:
        reader = csv.DictReader(file)
        missing = [column for column in _HEADER if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}:1: no column {missing[0]!r}; the header must be {','.join(_HEADER)}")
        for row in reader:
            with noted():
                where = f"{path}:{reader.line_num}"
                name, box = _box(row, where)
                if name not in boxes:
                    raise InputError(f"{where}: no picture {name!r} below {root}; mend or remove the row")
                boxes[name].append(box)
                lines[name].append(reader.line_num)
    for name, own in boxes.items():
        with noted():
            _refuse_shares(own, lines[name], f"{path}:", name)
    return list(boxes.values()), list(lines.values())


def _refuse_shares(boxes: list[tuple[float, ...]], lines: list[int], where: str, name: str) -> None:
    """Refuse boxes of a picture that are shares of it; a box in pixels may be smaller than one, and is left out."""
    if max((side for box in boxes for side in box), default=2) > 1:
        return
    for (x0, y0, x1, y1), line in zip(boxes, lines):
        if x1 - x0 < LEAST_SIDE or y1 - y0 < LEAST_SIDE:
            raise InputError(
                f"{where}{line}: the box of {name} is less than a pixel wide or high; boxes are in pixels, not in "
                "shares of the image"
            )


def _box(row: dict[str, str | None], where: str) -> tuple[str, tuple[float, ...]]:
    try:
        x0, y0, x1, y1 = box = tuple(float(row[side] or "") for side in _HEADER[1:])
        if not all(map(math.isfinite, box)):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"{where}: malformed row; expected a file and four numbers x0,y0,x1,y1") from None
    if not (x1 > max(x0, 0) and y1 > max(y0, 0)):
        raise InputError(f"{where}: the box of {row['file']} is empty or outside its image; x1 and y1 must be greater")
    return Path(row["file"] or "").as_posix(), box
