"""Tiny data sets on disk, with contents that the tests can work out by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOT = (250, 20, 20)
GROUND = (30, 90, 160)


def scene(width: int = 60, height: int = 40, dot: tuple[int, int] = (20, 14), box=(12, 8, 44, 30)) -> np.ndarray:
    """A blue ground, a grey object that fills ``box``, and on it a red dot of 5 x 5 pixels around pixel ``dot``."""
    pixels = np.full((height, width, 3), GROUND, dtype=np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 128
    x, y = dot
    pixels[y - 2 : y + 3, x - 2 : x + 3] = DOT
    return pixels


def object_mask(width: int = 60, height: int = 40, box=(12, 8, 44, 30)) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


@pytest.fixture
def cub_root(tmp_path: Path) -> Path:
    """Three classes (ids 3, 7, 12), four images each (ids with gaps), the last two of each class for testing.

    Every image is ``scene()``; part 2 is the dot, part 5 is invisible; segmentations are there.
    """
    root = tmp_path / "Größe mit Leerzeichen" / "CUB_200_2011"
    (root / "parts").mkdir(parents=True)
    names = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")
    lines = {name: [] for name in names}
    classes = {3: "003.Blue_Bird", 7: "007.Löffler", 12: "012.Two Words"}
    for at, (number, name) in enumerate(classes.items()):
        (root / "images" / name).mkdir(parents=True)
        (root / "segmentations" / name).mkdir(parents=True)
        for turn in range(4):
            image = 100 * at + 7 * turn + 5
            path = f"{name}/bird {turn}.png"
            Image.fromarray(scene()).save(root / "images" / path)
            Image.fromarray(object_mask()).save(root / "segmentations" / path)
            lines["images"].append(f"{image} {path}")
            lines["image_class_labels"].append(f"{image} {number}")
            lines["train_test_split"].append(f"{image} {int(turn < 2)}")
            lines["bounding_boxes"].append(f"{image} 12.0 8.0 32.0 22.0")
            lines["parts/part_locs"] += [f"{image} 2 20.5 14.5 1", f"{image} 5 0.0 0.0 0"]
    lines["classes"] = [f"{number} {name}" for number, name in classes.items()]
    lines["parts/parts"] = ["2 red dot", "5 tail"]
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """ROOT/CLASS/*.png with two classes of ten pictures: ``scene()`` with noise of its own below the object."""
    root = tmp_path / "my pictures"
    noise = np.random.default_rng(0)
    for name in ("Äpfel", "pears"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            pixels = scene()
            pixels[31:] = noise.integers(0, 256, (2, 5, 3), dtype=np.uint8).repeat(5, 0)[:9].repeat(12, 1)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root
