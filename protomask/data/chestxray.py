"""``chestxray``: NIH ChestX-ray14, 112,120 frontal chest X-rays with up to 14 findings each (Wang et al., CVPR 2017).

As published::

    Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv)      Image Index, Finding Labels (A|B, or No Finding), ...,
    Patient ID train_val_list.txt    test_list.txt                     one image name a line, no patient in both
    BBox_List_2017.csv    (optional)                        Image Index, Finding Label, x, y, w, h in pixels
    images_001/images/*.png ... images_012/images/*.png     or all of them in images/

Multi-label: an image has any number of findings, "No Finding" is none of them. The findings are those that occur in
train_val_list.txt, in the published order, so that a part of the data (shorter lists) is a data set too. Validation
images are held out of train_val_list.txt by whole patients. Boxes belong to single findings (``box_labels``) and are
there for few images; they are in pixels of the published images, 1024 x 1024, and are scaled to images that are stored
at another size. Grey images come with three equal channels.

The labels were read out of radiologists' reports by a program: some are wrong.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from protomask.data.cache import CAP
from protomask.data.contents import file_digests
from protomask.data.decoding import image_size as size_of
from protomask.data.files import FileImages
from protomask.data.images import Splits
from protomask.data.problems import for_a_run, noted
from protomask.data.splitting import check_share, hold_out_groups, ranks
from protomask.data.tables import is_named, open_csv
from protomask.errors import InputError
from protomask.files import check_folder

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NONE = "No Finding"
_ALIASES = {"Infiltrate": "Infiltration"}  # the list of boxes calls it so
_ENTRIES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
_BOXES = "BBox_List_2017.csv"
_SIDE = 1024
"""of the published images, in whose pixels the boxes are"""
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


def load(
    root: Path | None, *, image_size: int | None = None, cache: int = CAP, seed: int = 0, validation: float = 0.1
) -> Splits:
    """Open the data set; ``root`` is the folder that holds Data_Entry_2017.csv.

    Args:
        root: see the module's description.
        image_size, cache: see :class:`FileImages`.
        seed: of the choice of validation patients.
        validation: share of the training images, held out by whole patients.

    Raises:
        InputError: a file is missing, or a line of one is wrong (the message names both); a patient is in both lists.
    """
    check_share("validation", validation)
    root, entries = _find(root)
    rows = _entries(entries)
    members = {part: _list(root / name, rows, entries) for part, name in _LISTS.items()}
    _check_patients(members, rows, root)
    places, doubled = _places(root, members)
    if not for_a_run():
        for fault in _differing(doubled):
            with noted():
                raise InputError(
                    f"{fault}; move one of the two folders out of {root}, or give it a name that does not begin with "
                    "'images'"
                )
    # All of them, unless a check noted that some are missing.
    members = {part: [name for name in names if name in places] for part, names in members.items()}
    names = [*members["train"], *members["test"]]
    occurring = {finding for name in members["train"] for finding in rows[name][0]}
    classes = tuple(finding for finding in FINDINGS if finding in occurring)
    found = [[float(finding in rows[name][0]) for finding in classes] for name in names]
    labels = torch.tensor(found, dtype=torch.float32).reshape(len(names), -1)
    boxes, box_labels, box_lines = _boxes(root / _BOXES, names, classes, rows, places)
    every = FileImages(
        classes,
        labels,
        names,
        [places[name] for name in names],
        boxes,
        box_labels=box_labels,
        image_size=image_size,
        cache=cache,
        boxes_from=str(root / _BOXES),
        box_lines=box_lines,
    )
    count = len(members["train"])
    patients = ranks([rows[name][1] for name in members["train"]])
    kept, held = hold_out_groups(labels[:count], patients, validation, seed)
    return Splits(
        every.subset(kept),
        every.subset(held),
        every.subset(range(count, len(names))),
        partial(_remarks, doubled) if for_a_run() and doubled else None,
    )


def _find(root: Path | None) -> tuple[Path, Path]:
    """Find the folder and its file of labels."""
    if root is None:
        raise InputError(
            f"data set 'chestxray' needs a root: the folder with {_ENTRIES[0]}, {', '.join(_LISTS.values())} and images"
        )
    root = Path(root)
    check_folder(root, f"root must be the folder with {_ENTRIES[0]}")
    for name in _LISTS.values():
        if not is_named(root / name):
            raise InputError(
                f"{root}: has no {name}; it comes with ChestX-ray14 and says which images are for training or testing"
            )
    for name in _ENTRIES:
        if is_named(root / name):
            return root, root / name
    raise InputError(f"{root}: has no {' or '.join(_ENTRIES)}; not a ChestX-ray14 folder")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(file:line, cells) of a CSV file."""
    with open_csv(path) as file:
        reader = csv.reader(file)
        for row in reader:
            yield f"{path}:{reader.line_num}", row


def _entries(path: Path) -> dict[str, tuple[tuple[str, ...], int]]:
    """Image name -> its findings and its patient's number."""
    lines = _lines(path)
    _, header = next(lines, (None, []))
    columns = []
    for name in ("Image Index", "Finding Labels", "Patient ID"):
        if name not in header:
            raise InputError(f"{path}:1: no column {name!r}; expected the header of ChestX-ray14's Data_Entry_2017.csv")
        columns.append(header.index(name))
    rows: dict[str, tuple[tuple[str, ...], int]] = {}
    for where, row in lines:
        if not row:
            continue
        with noted():
            if len(row) <= max(columns):
                raise InputError(f"{where}: {len(row)} cells, fewer than the header names; restore the line")
            name, labels, patient = (row[column].strip() for column in columns)
            if name in rows:
                raise InputError(f"{where}: {name} occurs twice; remove one of the lines")
            findings = tuple(_finding(label, where) for label in labels.split("|")) if labels != NONE else ()
            try:
                rows[name] = (findings, int(patient))
            except ValueError:
                raise InputError(f"{where}: Patient ID {patient!r} is no whole number") from None
    return rows


def _finding(label: str, where: str) -> str:
    name = _ALIASES.get(label.strip(), label.strip())
    if name not in FINDINGS:
        raise InputError(f"{where}: finding {label!r} is unknown; known are {', '.join(FINDINGS)}, and {NONE} alone")
    return name


def _list(path: Path, rows: dict, entries: Path) -> list[str]:
    """Read the image names of a list, in order."""
    names: dict[str, None] = {}
    for where, row in _lines(path):
        name = row[0].strip() if row else ""
        if not name:
            continue
        with noted():
            if name not in rows:
                raise InputError(f"{where}: {name} is not in {entries}; remove the line or restore that file")
            if name in names:
                raise InputError(f"{where}: {name} occurs twice; remove one of the lines")
            names[name] = None
    if not names:
        raise InputError(f"{path}: names no image")
    return list(names)


def _check_patients(members: dict[str, list[str]], rows: dict, root: Path) -> None:
    training = {rows[name][1] for name in members["train"]}
    for name in members["test"]:
        with noted():
            if rows[name][1] in training:
                raise InputError(
                    f"{root / _LISTS['test']}: patient {rows[name][1]} of {name} is in {_LISTS['train']} too; "
                    "keep each patient's images in one list"
                )


def _places(root: Path, members: dict[str, list[str]]) -> tuple[dict[str, Path], list[tuple[Path, Path]]]:
    """Where each image lies, found by listing the image folders once, and which lie in a second place, too."""
    folders = [root / "images", *sorted(root.glob("images_*/images")), *sorted(root.glob("images_*"))]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        raise InputError(f"{root}: has no folder of images; expected images_001/images/ and so on, or images/")
    places: dict[str, Path] = {}
    doubled = []
    listed = {name for names in members.values() for name in names}
    for folder in folders:
        for path in folder.iterdir():
            first = places.setdefault(path.name, path)
            if first is not path and path.name in listed:
                doubled.append((first, path))
    for part, names in members.items():
        missing = [name for name in names if name not in places]
        with noted():
            if missing:
                raise InputError(
                    f"{root / _LISTS[part]}: {len(missing)} of its {len(names)} images are in none of the image "
                    "folders, first "
                    f"{missing[0]}; unpack the archives that are missing, or leave these images out of the list"
                )
    return places, doubled


def _differing(doubled: Sequence[tuple[Path, Path]]) -> list[str]:
    """Say which two folders hold other files of the same names; copies are one image."""
    pairs = [(one, two) for one, two in doubled if one.is_file() and two.is_file() and not one.samefile(two)]
    same_size = [(one, two) for one, two in pairs if one.stat().st_size == two.stat().st_size]
    known = file_digests([path for pair in same_size for path in pair])
    copies = {pair for pair in same_size if known[pair[0]] == known[pair[1]]}
    counts: dict[tuple[Path, Path], int] = {}
    for one, two in pairs:
        if (one, two) not in copies:
            counts[one.parent, two.parent] = counts.get((one.parent, two.parent), 0) + 1
    return [
        f"{number:,} listed {'image lies' if number == 1 else 'images lie'} in {one} and in {two}, and "
        f"{'differs' if number == 1 else 'differ'}"
        for (one, two), number in counts.items()
    ]


def _remarks(doubled: Sequence[tuple[Path, Path]]) -> list[str]:
    try:
        return [f"{fault}; those in the first are read" for fault in _differing(doubled)]
    except InputError as error:  # of a file that nothing else reads
        return [str(error)]


def _boxes(
    path: Path, names: list[str], classes: tuple[str, ...], rows: dict, places: dict[str, Path]
) -> tuple[list, list, list]:
    """For each image its boxes x0, y0, x1, y1, the findings they belong to, and their lines in the file."""
    boxes: dict[str, list[tuple]] = {name: [] for name in names}
    labels: dict[str, list[int]] = {name: [] for name in names}
    numbers: dict[str, list[int]] = {name: [] for name in names}
    for where, row in list(_lines(path))[1:] if is_named(path) else ():
        if not row:
            continue
        with noted():
            name, finding, box = _box(row, where)
            if name not in rows:
                raise InputError(f"{where}: {name} is not in the file of labels; mend or remove the line")
            if name in boxes and finding in classes:
                boxes[name].append(box)
                labels[name].append(classes.index(finding))
                numbers[name].append(int(where.rpartition(":")[2]))
    scaled = [_scaled(boxes[name], places[name]) for name in names]
    return scaled, [labels[name] for name in names], [numbers[name] for name in names]


def _scaled(boxes: list[tuple], image: Path) -> list[tuple]:
    """Give boxes of a published image in pixels of the image as it is stored."""
    if not boxes:
        return boxes
    try:
        width, height = size_of(image)
    except InputError:
        return boxes  # it is told where the image is read
    return [
        (x0 * width / _SIDE, y0 * height / _SIDE, x1 * width / _SIDE, y1 * height / _SIDE) for x0, y0, x1, y1 in boxes
    ]


def _box(row: list[str], where: str) -> tuple[str, str, tuple[float, float, float, float]]:
    """Image, finding and x0, y0, x1, y1 of a line."""
    try:
        name, finding = row[0].strip(), _finding(row[1], where)
        x, y, width, height = (float(cell) for cell in row[2:6])
        if not all(map(math.isfinite, (x, y, width, height))):
            raise ValueError(row)
    except (IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: malformed row; expected an image, a finding and four numbers x,y,w,h") from None
    if not (width > 0 and height > 0 and x + width > 0 and y + height > 0):
        raise InputError(f"{where}: the box of {name} is empty or outside its image; mend or remove the line")
    return name, finding, (x, y, x + width, y + height)
