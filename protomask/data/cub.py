"""``cub``: the folder of Caltech-UCSD Birds-200-2011 (Wah et al., 2011), whole or a subset of it, and what copies it.

::

    images.txt               IMAGE PATH            paths below images/
    image_class_labels.txt   IMAGE CLASS
    classes.txt              CLASS NAME
    train_test_split.txt     IMAGE 0|1             1: training
    bounding_boxes.txt       IMAGE X Y WIDTH HEIGHT    pixels; needed only to crop
    parts/parts.txt          PART NAME             optional, with
    parts/part_locs.txt      IMAGE PART X Y 0|1    pixels; 1: visible
    segmentations/           the paths of images/ with .png   optional; beside the folder is a place for it, too

IMAGE, CLASS and PART are ids: integers, not necessarily contiguous. Labels are 0..C-1 in the order of the class ids.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from protomask.data.cache import CAP
from protomask.data.files import FileImages
from protomask.data.images import Splits
from protomask.data.problems import noted
from protomask.data.tables import is_named
from protomask.errors import InputError
from protomask.files import check_folder, read_text

_FOLDER = "CUB_200_2011"
# The segmentations are means over annotators: 0, 51, ..., 255. On the object is where most of them say so.
_MAJORITY = 127


def load(
    root: Path | None, *, crop: bool = True, image_size: int | None = None, cache: int = CAP, seed: int = 0
) -> Splits:
    """Open the data set; ``validation`` is empty. ``root`` is the folder, or the one that holds CUB_200_2011.

    Names are paths below images/, part names those of parts.txt (15 in the original). See :class:`FileImages` for
    ``crop``, ``image_size`` and ``cache``; ``seed`` has no effect, the split is the data set's own.

    Raises:
        InputError: the folder is not one, or a line of a file is malformed or does not fit the others.
    """
    root = _find(root)
    images = _table(root / "images.txt", "IMAGE PATH")
    label_lines: dict[int, int] = {}
    box_lines: dict[int, int] = {}
    labels = _table(root / "image_class_labels.txt", "IMAGE CLASS", of=images, lines=label_lines)
    classes = dict(sorted(_table(root / "classes.txt", "CLASS NAME").items()))
    split = _table(root / "train_test_split.txt", "IMAGE 0|1", of=images)
    label_of = {number: label for label, number in enumerate(classes)}
    for number, (label,) in labels.items():
        with noted():
            if label not in label_of:
                where = f"{root / 'image_class_labels.txt'}:{label_lines[number]}"
                raise InputError(f"{where}: image {number} has class {label}, not in classes.txt")
    has_boxes = crop or is_named(root / "bounding_boxes.txt")
    boxes = _table(root / "bounding_boxes.txt", "IMAGE X Y WIDTH HEIGHT", images, box_lines) if has_boxes else {}
    part_names, points, visible = _parts(root, images)
    # Every image has these, unless mistakes were noted instead of raised.
    label = {number: label_of.get(labels[number][0], 0) if number in labels else 0 for number in images}
    box = {number: [(x, y, x + w, y + h)] for number, (x, y, w, h) in boxes.items()}
    names = [path for (path,) in images.values()]
    every = FileImages(
        [name for (name,) in classes.values()],
        list(label.values()),
        names,
        [root / "images" / name for name in names],
        [box.get(number, []) for number in images],
        part_names=part_names,
        points=points,
        visible=visible,
        masks=_segmentations(root, names),
        mask_above=_MAJORITY,
        crop=crop,
        image_size=image_size,
        cache=cache,
        boxes_from=str(root / "bounding_boxes.txt"),
        box_lines=[[box_lines[number]] if number in boxes else [] for number in images],
    )
    training = np.array([split.get(number) == (1,) for number in images], dtype=bool)
    return Splits(every.subset(training.nonzero()[0]), every.subset([]), every.subset((~training).nonzero()[0]))


def _find(root: Path | None) -> Path:
    if root is None:
        raise InputError(f"data set 'cub' needs a root: the folder {_FOLDER}, which holds images.txt and images/")
    root = Path(root)
    check_folder(root, f"root must be {_FOLDER} or the folder that holds it")
    for folder in (root, root / _FOLDER):
        if is_named(folder / "images.txt") and (folder / "images").is_dir():
            return folder
    raise InputError(f"{root}: not a CUB-200-2011 folder; expected images.txt and images/ in it or in {_FOLDER}/")


def _parts(root: Path, images: dict) -> tuple[tuple[str, ...], np.ndarray | None, np.ndarray | None]:
    """Part names (N,), points (len, N, 2), visible (len, N); parts that no line names are invisible."""
    if not is_named(root / "parts" / "parts.txt"):
        return (), None, None
    parts = dict(sorted(_table(root / "parts" / "parts.txt", "PART NAME").items()))
    column = {number: index for index, number in enumerate(parts)}
    row = {number: index for index, number in enumerate(images)}
    points = np.zeros((len(images), len(parts), 2), dtype=np.float32)
    visible = np.zeros((len(images), len(parts)), dtype=bool)
    seen = np.zeros_like(visible)
    path = root / "parts" / "part_locs.txt"
    for line, (image, part, x, y, flag) in _rows(path, "IMAGE PART X Y 0|1"):
        with noted():
            if image not in row or part not in column:
                missing = (
                    f"image {image} is not in images.txt" if image not in row else f"part {part} is not in parts.txt"
                )
                raise InputError(f"{path}:{line}: {missing}; remove the line or add it there")
            where = row[image], column[part]
            if seen[where]:
                raise InputError(f"{path}:{line}: part {part} of image {image} occurs twice; remove one of the lines")
            points[where], visible[where], seen[where] = (x, y), flag == 1, True
    return tuple(name for (name,) in parts.values()), points, visible


def _segmentations(root: Path, names: list[str]) -> list[tuple[Path]] | None:
    folders = [root / "segmentations"] + ([root.parent / "segmentations"] if root.name == _FOLDER else [])
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        return None
    masks = [((folder / name).with_suffix(".png"),) for name in names]
    for (mask,) in masks:
        with noted():
            if not is_named(mask):
                raise InputError(f"{mask}: no such segmentation; each image needs one, or remove the folder {folder}")
    return masks


def _table(path: Path, form: str, of: dict | None = None, lines: dict | None = None) -> dict[int, tuple]:
    """Read a file whose lines begin with an id: id -> the other values, and in ``lines`` id -> number of its line.

    With ``of``, the ids must be exactly those.
    """
    kind = form.split()[0].lower()
    table: dict[int, tuple] = {}
    texts: set[str] = set()
    for line, (number, *values) in _rows(path, form):
        with noted():
            if number in table:
                raise InputError(f"{path}:{line}: {kind} {number} occurs twice; remove one of the lines")
            if of is not None and number not in of:
                raise InputError(f"{path}:{line}: image {number} is not in images.txt; remove the line or add it there")
            if "WIDTH" in form and not _is_box(*values):
                raise InputError(f"{path}:{line}: the box of image {number} is empty or outside its image; mend it")
            if isinstance(values[0], str):
                if values[0] in texts:
                    raise InputError(f"{path}:{line}: {values[0]!r} occurs twice; each {kind} needs its own")
                texts.add(values[0])
            table[number] = tuple(values)
            if lines is not None:
                lines[number] = line
    for number in of or ():
        with noted():
            if number not in table:
                raise InputError(f"{path}: image {number} of images.txt is missing; add a line {form!r} for it")
    return table


def _is_box(x: float, y: float, width: float, height: float) -> bool:
    return width > 0 and height > 0 and x + width > 0 and y + height > 0


def _rows(path: Path, form: str):
    """Yield (line number, values) of a file with the columns ``form``; a last column of text may hold spaces."""
    if not is_named(path):
        crop = "; without it the images cannot be cropped" if path.name == "bounding_boxes.txt" else ""
        raise InputError(f"{path}: no such file; it must hold lines {form!r}{crop}")
    text = read_text(path)
    columns = form.split()
    readers = [_READERS.get(column, int) for column in columns]
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            values = None
            with noted():
                try:
                    words = line.split(maxsplit=len(columns) - 1)
                    values = tuple([read(word) for read, word in zip(readers, words, strict=True)])
                except ValueError:
                    raise InputError(
                        f"{path}:{number}: malformed line {line.strip()[:60]!r}; expected {form!r}"
                    ) from None
            if values is not None:
                yield number, values


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number


def _flag(word: str) -> int:
    return ("0", "1").index(word)  # a ValueError for anything else


# What the words of a column become; ids are integers.
_READERS: dict[str, Callable[[str], Any]] = {"PATH": str.rstrip, "NAME": str.rstrip, "0|1": _flag}
_READERS |= dict.fromkeys(("X", "Y", "WIDTH", "HEIGHT"), _finite)
