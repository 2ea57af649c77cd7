"""What is written in CUB's format comes back through the reader of CUB."""

import pytest
import torch
from torch import Tensor

from protomask.data import load_data
from protomask.data.parts import load_parts
from protomask.data.parts_export import export_cub
from protomask.errors import InputError


@pytest.fixture(scope="module")
def splits():
    return load_parts(cache=False, classes=3, train_per_class=4, test_per_class=2, image_size=48, validation=0.25)


def test_the_reader_of_cub_finds_everything_again(splits, tmp_path):
    root = export_cub(splits, tmp_path / "two words")
    read = load_data("cub", root, crop=False, validation=0)
    assert read.train.classes == tuple(f"{number:03d}.{name}" for number, name in enumerate(splits.train.classes, 1))
    assert read.train.part_names == splits.train.part_names
    assert len(read.train) == len(splits.train) + len(splits.validation) and len(read.test) == len(splits.test)
    for ours, theirs in ((splits.train, read.train), (splits.validation, read.train), (splits.test, read.test)):
        for position in range(len(ours)):
            wanted = ours[position]
            name = f"{theirs.classes[wanted['label']]}/{ours.names[position].replace('/', '_')}.png"
            found = theirs[theirs.names.index(name)]
            assert found["label"] == wanted["label"]
            for key in ("image", "boxes", "mask", "points", "visible"):
                assert torch.equal(found[key].as_subclass(Tensor), wanted[key].as_subclass(Tensor)), key


def test_the_tables_look_like_cub_s(splits, tmp_path):
    root = export_cub(splits, tmp_path)
    first = {path.name: path.read_text().splitlines()[0] for path in root.rglob("*.txt")}
    assert first["images.txt"] == f"1 001.Aloro/{splits.train.names[0].replace('/', '_')}.png"
    assert first["image_class_labels.txt"] == "1 1" and first["train_test_split.txt"] == "1 1"
    assert first["classes.txt"] == "1 001.Aloro" and first["parts.txt"] == "1 head"
    x, y, seen = first["part_locs.txt"].removeprefix("1 1 ").split()
    point = splits.train[0]["points"][0]
    assert (float(x), float(y), seen) == (point[0].item(), point[1].item(), "1")
    assert len((root / "parts/part_locs.txt").read_text().splitlines()) == 18 * 6


def test_a_folder_that_holds_something_is_left_alone(splits, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        export_cub(splits, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="not an empty folder"):
        export_cub(splits, tmp_path / "notes.txt")
