"""The planted tag: where it is, and that nothing else changes."""

import pytest
import torch
from torchvision import tv_tensors

from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError

OPTIONS = {"classes": 4, "train_per_class": 3, "test_per_class": 3, "image_size": 64, "validation": 0, "cache": False}


@pytest.fixture(scope="module")
def tagged():
    return load_data("parts", shortcut=2, **OPTIONS)


@pytest.fixture(scope="module")
def plain():
    return load_data("parts", **OPTIONS)


def pixels(sample):
    return sample["image"].as_subclass(torch.Tensor).int()


def test_one_class_wears_a_tag_and_nothing_else_changes(tagged, plain):
    for split in ("train", "test"):
        data, before = getattr(tagged, split), getattr(plain, split)
        for position in range(len(data)):
            mask, changed = data.tag_mask(position), (pixels(data[position]) != pixels(before[position])).any(0)
            if data.labels[position] == 2:
                assert mask.sum() == 64 and changed.any() and not (changed & ~mask).any()
            else:
                assert not mask.any() and not changed.any()
            assert pixels(data.without_tag(position)).equal(pixels(before[position]))
            assert data.part_masks(position).equal(before.part_masks(position))
            assert not (mask & (data[position]["mask"][0] > 0)).any()  # it lies in the background


def test_the_tag_stays_when_a_part_goes(tagged):
    position = int((tagged.test.labels == 2).nonzero()[0])
    mask = tagged.test.tag_mask(position)
    for sample in (tagged.test.without_part(position, 0), tagged.test.without_parts(position, range(6))):
        assert pixels(sample)[:, mask].equal(pixels(tagged.test[position])[:, mask])


def test_places_vary_and_follow_the_transform(tagged):
    data = tagged.test.with_transform(evaluation_transform(32, (0.5,) * 3, (0.25,) * 3))
    wearing = (data.labels == 2).nonzero().flatten().tolist()
    places = {tuple(data.tag_mask(position).nonzero()[0].tolist()) for position in wearing}
    assert len(places) > 1 and all(data.tag_mask(position).sum() == 16 for position in wearing)
    assert isinstance(data[wearing[0]]["image"], tv_tensors.Image)


def test_a_tagged_data_set_is_another_one(tagged, plain):
    assert tagged.train.fingerprint() != plain.train.fingerprint()
    assert tagged.train.fingerprint() != load_data("parts", shortcut=1, **OPTIONS).train.fingerprint()


@pytest.mark.parametrize("label", [-1, 4, True, "owl"])
def test_wrong_classes_are_named(label):
    with pytest.raises(InputError, match="shortcut"):
        load_data("parts", shortcut=label, **OPTIONS)


def test_the_tag_has_a_size_that_tells_data_sets_apart(tagged):
    large = load_data("parts", shortcut=2, tag_share=4, **OPTIONS)
    position = int((large.test.labels == 2).nonzero()[0])
    assert large.test.tag_mask(position).sum() == 256 and tagged.test.tag_mask(position).sum() == 64
    assert large.train.fingerprint() != tagged.train.fingerprint()
    with pytest.raises(InputError, match="tag_share is 1"):
        load_data("parts", shortcut=2, tag_share=1, **OPTIONS)
