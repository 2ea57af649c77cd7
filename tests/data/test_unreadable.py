"""Pictures and masks that cannot be read, found before a training."""

import re

import numpy as np
import pytest
from PIL import Image

import protomask
from protomask.data import load_data, remembered, unreadable
from protomask.data.unreadable import require_readable
from protomask.errors import InputError
from tests.data.conftest import object_mask


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def check(name, root, **others):
    splits = load_data(name, root, cache=0, **others)
    splits.remarks()  # as before a training
    require_readable(splits)


@pytest.mark.parametrize("picture", ["images/007.Löffler/bird 3.png", "images/003.Blue_Bird/bird 0.png"])
def test_a_picture_that_cannot_be_decoded_is_named_in_any_split(cub_root, picture):
    check("cub", cub_root)
    cut(cub_root / picture)
    with pytest.raises(
        InputError, match=re.escape(picture) + r": cannot be read as an image \(.*; restore or remove it$"
    ):
        check("cub", cub_root)


def test_a_mask_that_does_not_fit_or_cannot_be_decoded_is_named(cub_root):
    masks = cub_root / "segmentations" / "003.Blue_Bird"
    Image.fromarray(object_mask(50, 40)).save(masks / "bird 3.png")
    cut(masks / "bird 2.png")
    with pytest.raises(InputError, match=r"bird 2.png: cannot be read .*it \(1 more such pictures or masks; protomask"):
        check("cub", cub_root)
    Image.fromarray(object_mask()).save(masks / "bird 2.png")
    with pytest.raises(InputError, match="bird 3.png: the mask is 50 x 40 pixels, its image 60 x 40"):
        check("cub", cub_root)


def test_a_box_outside_its_test_picture_is_named(cub_root):
    boxes = cub_root / "bounding_boxes.txt"
    boxes.write_text(boxes.read_text().replace("19 12.0 8.0", "19 70.0 8.0"))
    with pytest.raises(InputError, match=r"bounding_boxes.txt:3: the box \(70, .* lies outside its image"):
        check("cub", cub_root)


@pytest.mark.parametrize("kind", ["8 bits", "12 bits", "float"])
def test_pictures_of_a_folder_are_not_decoded_twice_but_for_those_of_more_bits(folder_root, monkeypatch, kind):
    makers = {"8 bits": (np.uint8, "png", 1), "12 bits": (np.uint16, "png", 9), "float": (np.float32, "tif", 0.5)}
    maker, suffix, factor = makers[kind]
    for path in sorted(folder_root.rglob("*.png")):
        grey = np.asarray(Image.open(path).convert("L")).astype(maker) * maker(factor)
        path.unlink()
        Image.fromarray(grey).save(path.with_suffix(f".{suffix}"))
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    decoded, real, opened, size = [], unreadable.decode, [], unreadable._size_of_8_bits
    monkeypatch.setattr(unreadable, "_size_of_8_bits", lambda path: opened.append(path) or size(path))
    monkeypatch.setattr(unreadable, "decode", lambda path, *given: decoded.append(path) or real(path, *given))
    if kind == "float":
        with pytest.raises(InputError, match="pixels of type float have no fixed range"):
            check("folder", folder_root)
        check("folder", folder_root, intensity_range=(0, 200))
        decoded.clear()
        opened.clear()
        check("folder", folder_root, intensity_range=(0, 200))
    else:
        check("folder", folder_root)
        assert len(decoded) == (0 if kind == "8 bits" else 20) and len(opened) == 20
        decoded.clear()
        opened.clear()
        check("folder", folder_root)
    assert decoded == opened == []


def test_a_training_does_not_begin_with_a_test_picture_that_cannot_be_read(folder_root, tmp_path):
    splits = load_data("folder", folder_root)
    cut(folder_root / splits.test.names[1])
    small = {"backbone": "test_resnet", "features": 8, "image_size": 32, "epochs": 1, "device": "cpu", "workers": 0}
    with pytest.raises(InputError, match="none.pth: no such file"):  # what is known at once is told before
        protomask.train(
            data="folder", root=folder_root, output=tmp_path / "run", weights=str(tmp_path / "none.pth"), **small
        )
    with pytest.raises(InputError, match=f"{splits.test.names[1]}: cannot be read as an image"):
        protomask.train(data="folder", root=folder_root, output=tmp_path / "run", progress=False, **small)
    assert not (tmp_path / "run" / "config.json").exists()
