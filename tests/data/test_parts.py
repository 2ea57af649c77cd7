"""The embedded data set: its truth, its reproducibility, and scenes without a part."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from protomask.data import collate, load_data
from protomask.data.parts import load_parts
from protomask.data.parts_render import render
from protomask.data.parts_scene import class_table, draw_scene
from protomask.data.parts_shapes import PART_NAMES
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError

SMALL = {"train_per_class": 4, "test_per_class": 2, "image_size": 64}
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def splits():
    return load_parts(cache=False, validation=0.25, **SMALL)


@pytest.fixture(scope="module")
def data(splits):
    return splits.test


def spread(region: np.ndarray, pixels: int) -> np.ndarray:
    """The region and what lies within so many pixels of it."""
    for _ in range(pixels):
        padded = np.pad(region, 1)
        region = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return region


# Rendering


@pytest.mark.parametrize(
    "size, label, digest", [(64, 0, "3d7aacb39b10185c"), (96, 4, "68c6c335d42cf628"), (128, 9, "2f3251e046323171")]
)
def test_scenes_are_the_same_to_the_bit(size, label, digest):
    sha = hashlib.sha256()
    for number in range(3):
        rendering = render(draw_scene(class_table(10)[label], 0, "train", label, number), size)
        for field, kind in zip(rendering, ("u1", "u1", "<i2", "<i2", "u1")):
            sha.update(np.ascontiguousarray(field, dtype=kind).tobytes())
    assert sha.hexdigest()[:16] == digest


def test_without_a_part_nothing_else_changes():
    painted = 0
    for number in range(6):
        scene = draw_scene((number % 4,) * 6, 1, "test", 0, number)
        whole = render(scene, 128)
        bare = render(replace(scene, occluders=()), 128)
        for part in range(len(PART_NAMES)):
            less = render(scene, 128, without=(part,))
            region = spread(bare.owners == part + 1, 4)  # of thin tips, no pixel is covered by half
            changed = (whole.image != less.image).any(axis=0)
            assert not (changed & ~region).any()
            assert not (less.owners == part + 1).any() and not less.visible[part]
            others = (whole.owners != part + 1) & (whole.owners != 0)
            np.testing.assert_array_equal(less.owners[others], whole.owners[others])
            painted += changed.sum() > 0.9 * (whole.owners == part + 1).sum()
    assert painted == 36  # and the part is really gone


def test_a_part_behind_something_is_not_visible():
    scene = draw_scene((0,) * 6, 0, "train", 0, 0)
    bare = render(replace(scene, occluders=(), strays=(), clutter=()), 64)
    assert bare.visible.all()
    leaf = replace(scene.clutter[0], kind=1, x=scene.x, y=scene.y, angle=0, scale=1000 << 16)  # a pebble before it all
    hidden = render(replace(scene, occluders=(leaf,)), 64)
    assert not hidden.visible.any() and not hidden.points.any() and not hidden.box.any() and not hidden.owners.any()


def test_stray_parts_belong_to_nobody():
    scene = draw_scene((1,) * 6, 0, "train", 0, 0)
    stray = replace(draw_scene((1,) * 6, 0, "train", 0, 2), strays=()).strays
    alone, accompanied = (render(replace(scene, strays=strays), 64) for strays in ((), stray))
    np.testing.assert_array_equal(alone.owners, accompanied.owners)


# The data set


def test_splits_have_the_asked_sizes_and_share_no_scene(splits):
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [30, 10, 20]
    for split in (splits.train, splits.validation, splits.test):
        assert torch.bincount(split.labels, minlength=10).unique().numel() == 1
        assert split.classes == splits.train.classes and len(set(split.classes)) == 10
    names = [name for split in (splits.train, splits.validation, splits.test) for name in split.names]
    assert len(set(names)) == len(names) == 60
    pictures = {
        split[i]["image"].numpy().tobytes()
        for split in (splits.train, splits.validation, splits.test)
        for i in range(10)
    }
    assert len(pictures) == 30


def test_a_sample_has_everything(data):
    sample = data[3]
    assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.uint8
    assert sample["label"] == 1 and sample["position"] == 3 and data.names[3] == f"test/{data.classes[1]}_0001"
    assert sample["mask"].shape == (1, 64, 64) and sample["boxes"].shape == (1, 4)
    assert sample["points"].shape == (6, 2) and sample["visible"].shape == (6,) and data.part_names == PART_NAMES
    batch = collate([data.with_transform(evaluation_transform(32, HALF, HALF))[i] for i in range(3)])
    assert batch["images"].shape == (3, 3, 32, 32) and batch["points"].shape == (3, 6, 2)


def test_truth_agrees_with_itself(data):
    seen = 0
    for position in range(len(data)):
        sample, masks = data[position], data.part_masks(position).numpy()
        whole = sample["mask"].numpy()[0] == 1
        assert masks.shape == (6, 64, 64) and masks.sum(axis=0).max() <= 1
        assert (masks.any(axis=0) <= whole).all() and masks.any(axis=0).sum() < whole.sum()  # there is a body, too
        rows, columns = np.nonzero(whole)
        assert sample["boxes"][0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        for mask, (x, y), visible in zip(masks, sample["points"].tolist(), sample["visible"].tolist()):
            assert mask[int(y), int(x)] if visible else (x, y) == (0, 0)
            seen += visible
    assert seen >= 0.9 * 6 * len(data)


def test_part_masks_and_scenes_without_a_part_go_through_the_transform(data):
    moved = data.with_transform(v2.RandomHorizontalFlip(1))
    torch.testing.assert_close(moved.part_masks(5), data.part_masks(5).flip(-1))
    ours, plain = moved.without_part(5, 3), data.without_part(5, 3)
    torch.testing.assert_close(ours["image"].as_subclass(Tensor), plain["image"].as_subclass(Tensor).flip(-1))
    small = data.with_transform(evaluation_transform(32, HALF, HALF))
    assert small.part_masks(0).shape == (6, 32, 32) and small.part_masks(0).dtype == torch.bool
    assert small.without_part(0, 0)["image"].shape == (3, 32, 32)


def test_without_part_is_the_same_sample_less_the_part(data):
    view = data.subset([7, 2])
    sample, less = view[1], view.without_part(1, PART_NAMES.index("wing"))
    assert (less["label"], less["position"]) == (sample["label"], sample["position"]) == (1, 1)
    assert not less["visible"][3] and sample["visible"][3]
    changed = (less["image"] != sample["image"]).any(0).numpy()
    assert changed.any() and not (changed & ~spread((data.part_masks(2)[3]).numpy(), 12)).any()
    with pytest.raises(InputError, match=r"part 6: parts are numbered 0 to 5 \(head, crest"):
        data.without_part(0, 6)


def test_reading_changes_nothing_that_is_kept(data):
    before = data[0]["image"].clone()
    sample = data[0]
    for key in ("image", "mask", "points", "visible", "boxes"):
        sample[key].zero_()
    torch.testing.assert_close(data[0]["image"], before)
    assert data[0]["visible"].any() and data[0]["boxes"].any() and data[0]["mask"].any()


def test_scenes_do_not_depend_on_how_many_there_are(data):
    more = load_parts(cache=False, train_per_class=1, test_per_class=3, image_size=64).test
    for position in (0, 7, 19):
        other = more.names.index(data.names[position])
        assert torch.equal(data[position]["image"], more[other]["image"])


def test_seeds_change_the_scenes_but_not_the_classes(data):
    other = load_parts(cache=False, seed=1, **SMALL).test
    assert other.classes == data.classes and other.fingerprint() != data.fingerprint()
    assert other.scene(4).variants == data.scene(4).variants and other.scene(4) != data.scene(4)


def test_the_registry_knows_it(tmp_path):
    splits = load_data("parts", tmp_path, image_size=32, validation=0.5, classes=3, train_per_class=4, test_per_class=1)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [6, 6, 3]
    assert splits.test[0]["image"].shape == (3, 32, 32)


def test_sizes_beyond_the_renderer_s_are_rendered_at_the_nearest():
    few = {"classes": 2, "train_per_class": 1, "test_per_class": 1, "cache": False}
    assert load_parts(image_size=8, **few).test[0]["image"].shape == (3, 32, 32)
    assert load_parts(image_size=1024, **few).test[0]["image"].shape == (3, 512, 512)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"classes": 1}, "classes is 1; give a whole number from 2 to 30"),
        ({"classes": 31}, "classes is 31"),
        ({"seed": -1}, "seed is -1"),
        ({"train_per_class": 0}, "train_per_class is 0"),
        ({"test_per_class": 2.5}, "test_per_class is 2.5"),
        ({"image_size": 0}, "image_size is 0"),
        ({"validation": 1.0}, "validation 1.0"),
        ({"cache": "no"}, "cache is 'no'; give True or False"),
        ({"progress": 1}, "progress is 1"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        load_parts(**{"cache": False, **wrong})


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give a folder"):
        load_parts(tmp_path / "file")
