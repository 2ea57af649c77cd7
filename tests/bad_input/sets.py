"""Small whole data sets, to be spoilt one way at a time; every picture is 24 x 16 pixels of noise."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.chestxray_folder import write_chestxray
from tests.data.hf_folders import write_hf

SIZE = (24, 16)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def mask(lit: bool = True) -> Image.Image:
    pixels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    pixels[4:12, 6:18] = 255 * lit
    return Image.fromarray(pixels)


def make_folder(root: Path) -> None:
    """train/ and test/, two classes with a blank and an umlaut in their names, boxes.csv."""
    rows = ["file,x0,y0,x1,y1"]
    for seed, (part, name, number) in enumerate(
        (part, name, number) for part in ("train", "test") for name in ("red kites", "Bussärde") for number in range(2)
    ):
        folder = root / part / name
        folder.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / f"bird {number}.png")
        rows.append(f"{part}/{name}/bird {number}.png,2,2,20,14")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_cub(root: Path) -> None:
    """Two classes of two training and two test images, boxes, parts, segmentations."""
    names = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")
    lines: dict[str, list[str]] = {name: [] for name in names}
    (root / "parts").mkdir(parents=True)
    for number in range(1, 9):
        label = 1 + (number > 4)
        path = f"00{label}.Bird/{number}.png"
        for place, image in (("images", picture(number)), ("segmentations", mask())):
            (root / place / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / place / path)
        lines["images"].append(f"{number} {path}")
        lines["image_class_labels"].append(f"{number} {label}")
        lines["train_test_split"].append(f"{number} {number % 2}")
        lines["bounding_boxes"].append(f"{number} 2.0 2.0 18.0 12.0")
        lines["parts/part_locs"].append(f"{number} 1 9.5 8.5 1")
    lines |= {"classes": ["1 001.Bird", "2 002.Bird"], "parts/parts": ["1 beak"]}
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_busi(root: Path) -> None:
    """Three classes of two training and two test images with masks, annotations.csv."""
    rows = ["file,label,split,group"]
    for label, name in enumerate(("benign", "malignant", "normal")):
        (root / name).mkdir(parents=True)
        for number in range(4):
            stem = f"{name} ({number + 1})"
            picture(10 * label + number).save(root / name / f"{stem}.png")
            mask(name != "normal").save(root / name / f"{stem}_mask.png")
            rows.append(f"{name}/{stem}.png,{name},{'train' if number < 2 else 'test'},{10 * label + number}")
    (root / "annotations.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_chestxray(root: Path) -> None:
    """Six patients with an image each, two of them for testing, with boxes."""
    write_chestxray(root, patients=6, images=1, folders=False)


MAKERS = {"folder": make_folder, "cub": make_cub, "busi": make_busi, "chestxray": make_chestxray, "hf": write_hf}


def edit(path: Path, line: int, text: str | None) -> None:
    """Replaces line number ``line`` (from 1) of a text; None removes it, one past the end appends."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
