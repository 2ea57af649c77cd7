"""Writes ``parts`` to disk in the format of CUB-200-2011, for every program that reads that."""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from protomask.data.images import Sample, Splits
from protomask.errors import InputError


def export_cub(splits: Splits, folder: str | PathLike, *, progress: bool = False) -> Path:
    """Write images (PNG), labels, split, boxes, part points and segmentations as CUB-200-2011 has them.

    Training and validation images are marked as training images, as that format knows no validation. Nothing is lost:
    ``load_data("cub", folder, crop=False)`` reads back the same pixels, labels, boxes, points and masks.

    Example:
        >>> splits = load_parts(train_per_class=2, test_per_class=1)  # doctest: +SKIP
        >>> export_cub(splits, "creatures")  # doctest: +SKIP

    Args:
        splits: of :func:`protomask.data.parts.load_parts`, or of any data set whose samples have one box, a mask and
            points; what is stored is written, without transforms.
        folder: a new or empty folder.
        progress: shows a bar.

    Returns:
        The folder.

    Raises:
        InputError: the folder is a file, or holds something.
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: exists and is not an empty folder; name a new one")
    (root / "parts").mkdir(parents=True, exist_ok=True)
    classes, part_names = splits.train.classes, splits.train.part_names
    directories = [f"{number:03d}.{name}" for number, name in enumerate(classes, 1)]
    lines: dict[str, list[str]] = {name: [] for name in _TABLES}
    lines["classes.txt"] = [f"{number} {name}" for number, name in enumerate(directories, 1)]
    lines["parts/parts.txt"] = [f"{number} {name}" for number, name in enumerate(part_names, 1)]
    kinds = ((splits.train, 1), (splits.validation, 1), (splits.test, 0))
    places = [
        (label, data, training, position)
        for label in range(len(classes))
        for data, training in kinds
        for position in (data.labels == label).nonzero().flatten().tolist()
    ]
    for number, (label, data, training, position) in enumerate(tqdm(places, "exporting", disable=not progress), 1):
        path = f"{directories[label]}/{data.names[position].replace('/', '_')}.png"
        sample = data.read(position)
        _write_pictures(root, path, sample)
        lines["images.txt"].append(f"{number} {path}")
        lines["image_class_labels.txt"].append(f"{number} {label + 1}")
        lines["train_test_split.txt"].append(f"{number} {training}")
        x0, y0, x1, y1 = sample["boxes"][0].tolist()
        lines["bounding_boxes.txt"].append(f"{number} {x0:.2f} {y0:.2f} {x1 - x0:.2f} {y1 - y0:.2f}")
        for part, ((x, y), seen) in enumerate(zip(sample["points"].tolist(), sample["visible"].tolist()), 1):
            lines["parts/part_locs.txt"].append(f"{number} {part} {x:.2f} {y:.2f} {int(seen)}")
    for name, content in lines.items():
        (root / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8", newline="\n")
    return root


_TABLES = (
    "images.txt",
    "image_class_labels.txt",
    "classes.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
    "parts/parts.txt",
    "parts/part_locs.txt",
)


def _write_pictures(root: Path, path: str, sample: Sample) -> None:
    image = sample["image"].numpy().transpose(1, 2, 0)
    mask = sample["mask"].numpy()[0] * np.uint8(255)
    for kind, pixels in (("images", image), ("segmentations", mask)):
        target = root / kind / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(target, compress_level=1)
