"""Shortcut detection with a network that is known to look at the tag, and one prototype that is known not to."""

import pytest
import torch

from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation.shortcut import detect, tag_pairs
from protomask.prototype_network import Prediction, PrototypeNetwork
from protomask.statistics import wilson

OPTIONS = {"classes": 2, "train_per_class": 1, "test_per_class": 6, "image_size": 48, "validation": 0, "cache": False}


class Magenta(PrototypeNetwork):
    """Prototype 1, of class 1, is how magenta the image is anywhere; prototype 0, of class 0, the mean of its upper
    left corner."""

    image_size, mean, std = 48, (0.0,) * 3, (1.0,) * 3

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.declare_prototypes(torch.tensor([0, 1]))

    def similarity_maps(self, images, index=None):
        red, green, blue = images.unbind(1)
        tag = (torch.minimum(red, blue) - green - 0.4).relu()
        maps = torch.stack([torch.zeros_like(tag), tag], 1)
        maps[:, 0, 0, 0] = 0.1 + 0 * tag[:, 0, 0]
        return maps if index is None else maps[torch.arange(len(maps)), index]

    def forward(self, images):
        similarities = self.similarity_maps(images).flatten(2).amax(2)
        return Prediction(similarities, similarities, 1 - similarities)

    def score(self, images, index):
        return self.similarity_maps(images, index).flatten(1).amax(1)


@pytest.fixture(scope="module")
def scenes():
    return load_data("parts", shortcut=1, **OPTIONS).test.with_transform(
        evaluation_transform(48, (0.0,) * 3, (1.0,) * 3)
    )


def test_pairs_are_those_whose_similarity_the_tag_decides(scenes):
    network = Magenta(scenes.classes)
    pairs = tag_pairs(network, scenes)
    assert pairs.images == 6 and len(pairs.looking) == 6 and (pairs.looking.prototypes == 1).all()
    assert (scenes.labels[pairs.looking.positions] == 1).all() and (pairs.not_looking.prototypes == 0).all()
    assert pairs.accuracy[1] < pairs.accuracy[0]  # it was right for the wrong reason


def test_a_similarity_that_is_nan_looks_nowhere(scenes):
    class Broken(Magenta):
        def similarity_maps(self, images, index=None):
            return super().similarity_maps(images, index) * torch.nan

    with pytest.raises(InputError, match="a similarity of image .* is NaN"):
        tag_pairs(Broken(scenes.classes), scenes)


def test_detection_and_false_alarms(scenes):
    network = Magenta(scenes.classes)
    pairs = tag_pairs(network, scenes)

    def truth(explained, images, index):
        return explained.similarity_maps(images, index)

    def tag_always(explained, images, index):
        return explained.similarity_maps(images, torch.ones_like(index))

    def elsewhere(explained, images, index):
        return 1 - (explained.similarity_maps(images, torch.ones_like(index)) > 0).float()

    rows = {
        row["localizer"]: row
        for row in detect(network, scenes, {"truth": truth, "always": tag_always, "not": elsewhere}, pairs)
    }
    assert rows["truth"]["detected"] == 1 and rows["truth"]["false_alarms"] == 0 and rows["truth"]["energy"] > 0.9
    assert rows["always"]["detected"] == 1 and rows["always"]["false_alarms"] == 1
    assert rows["not"]["detected"] < 1 and rows["not"]["energy"] < 0.1
    assert rows["truth"]["detected_interval"] == pytest.approx(wilson(1.0, 6)) and rows["truth"]["detected_n"] == 6


def test_no_interval_of_the_energy_reaches_beyond_0_and_1(scenes, monkeypatch):
    few = torch.tensor([0.0] * 9 + [0.001, 0.002, 0.0, 0.01, 0.03, 0.02, 0.59])
    pairs = tag_pairs(Magenta(scenes.classes), scenes)
    monkeypatch.setattr("protomask.evaluation.shortcut._at_tag", lambda *_: (torch.ones(16), few))
    (row,) = detect(Magenta(scenes.classes), scenes, {"any": None}, pairs)
    assert row["energy_interval"] == (0, 1) and row["energy"] == pytest.approx(float(few.mean()))


def test_data_without_a_tag_is_named(scenes):
    plain = load_data("parts", **OPTIONS).test
    with pytest.raises(InputError, match="shortcut=LABEL"):
        tag_pairs(Magenta(plain.classes), plain)


def test_where_no_prototype_looks_at_the_tag_there_is_no_rate(scenes):
    network = Magenta(scenes.classes)
    network.prototype_classes[:] = 0
    pairs = tag_pairs(network, scenes)
    (row,) = detect(network, scenes, {"any": lambda explained, images, index: images[:, 0]}, pairs)
    assert (
        len(pairs.looking) == 0
        and row["detected"] is None
        and row["detected_n"] == 0
        and row["false_alarms"] is not None
    )
