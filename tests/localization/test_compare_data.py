"""What ``compare`` is given: data sets of torch, photographs in files, and boxes of single findings."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder

from protomask import InputError, compare
from protomask.data import load_data
from protomask.data.datasets import from_dataset
from protomask.data.transforms import evaluation_transform
from protomask.localization.photographs import open_photographs
from tests.localization.test_compare import PLAIN, Corner, Left, means, photographs

MASS, NODULE = [0, 0, 8, 8], [16, 16, 32, 32]


class Items(Dataset):
    """Items in memory; counts how often each is read."""

    def __init__(self, items, classes=None):
        self.items, self.reads = items, [0] * len(items)
        if classes is not None:
            self.classes, self.targets = classes, [item[1] for item in items]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.items[index]


def findings(classes, count=3):
    """The first finding is in the corner that the model sees and :class:`Left` shows, the second elsewhere."""
    boxes = {"boxes": [MASS, NODULE], "box_labels": [0, 1]}
    return from_dataset(Items([(pixels, (1, 1), boxes) for pixels in photographs(count)]), classes=classes)


@dataclass(frozen=True)
class Shown(Left):
    pass


def energy(data, index=0, **options):
    found = compare(
        Corner(), data, {"left": Shown()}, index=index, metrics=["energy_box"], multi_label=True, **options, **PLAIN
    )
    return means(found)["left", "energy_box"]


@pytest.mark.parametrize("labels", [["Mass", "Nodule"], ["Nodule", "Mass"], ["nodule ", "MASS"]])
def test_boxes_of_findings_are_those_of_the_class_of_that_name(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert energy(findings(["Mass", "Nodule"]), "mass", labels=labels) == 1
        assert energy(findings(["Mass", "Nodule"]), "nodule", labels=labels) == 0
        assert energy(findings(["Nodule", "Mass"]), "nodule", labels=labels) == 1


def test_classes_without_names_are_taken_in_order_and_that_is_said():
    named, numbered = findings(["Mass", "Nodule"]), findings(["0", "1"])
    for data, options, says in [
        (named, {}, "model's classes have no names.*order of the data's"),
        (named, {"labels": ["LABEL_0", "LABEL_1"]}, "model's classes have no names"),
        (numbered, {"labels": ["Mass", "Nodule"]}, "data's classes have no names.*order of the model's"),
    ]:
        with pytest.warns(UserWarning, match=says):
            assert energy(data, **options) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert energy(numbered) == 1


def test_boxes_of_classes_that_cannot_be_told_are_left_out_and_that_is_said():
    data = findings(["Mass", "Nodule"])
    with pytest.warns(UserWarning, match="boxes of 'Mass' are left out"):
        assert energy(data, 1, labels=["Heart", "Nodule"]) == 0
    boxes = {"boxes": [MASS], "box_labels": [2]}
    three = from_dataset(Items([(photographs(1)[0], (1, 1, 1), boxes)]), classes=["Mass", "Nodule", "Heart"])
    for given, labels, says in [
        (data, ["Heart", "Lung"], "'Mass', 'Nodule' are left out"),
        (three, None, "have no names, and the data have 3, the model 2"),
    ]:
        with pytest.warns(UserWarning, match=says), pytest.raises(InputError, match="boxes smaller than the image"):
            energy(given, labels=labels)
    three.classes = ("Nodule", "Mass")
    with pytest.raises(InputError, match="box_labels holds 2, but the data have 2 classes"):
        energy(three, labels=["Mass", "Nodule"])
    with pytest.raises(InputError, match="box_labels has the class 2; it must be at least 0 and less than 2"):
        from_dataset(Items([(photographs(1)[0], (1, 1), boxes)]), classes=["Nodule", "Mass"])


def test_some_classes_or_a_single_one_are_compared(tmp_path):
    pictures = photographs(6)
    for place, pixels in enumerate(pictures):
        (tmp_path / f"class {place % 3}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"class {place % 3}" / f"{place}.png")
    options = {"localizers": "center", "metrics": ["deletion"], **PLAIN}
    some = compare(Corner(), Subset(ImageFolder(tmp_path), [0, 2]), **options)
    assert [name[-13:] for name in some.names] == ["class 0/0.png", "class 1/1.png"]
    assert some.values == compare(Corner(), [pictures[0], pictures[1]], **options).values
    alone = compare(Corner(), Items([(pixels, 0) for pixels in pictures]), **options)
    assert alone.values == compare(Corner(), pictures, **options).values


def test_another_size_than_a_data_set_was_opened_for_is_said_unless_it_is_asked_for(tmp_path):
    data = from_dataset(Items([(pixels, 0) for pixels in photographs(2)]), "pictures")
    small = data.with_transform(evaluation_transform(16, (0.5,) * 3, (0.25,) * 3))
    statistics = {name: PLAIN[name] for name in ("mean", "std")}
    seen = []

    def spy(explained, images, index):
        seen.append(tuple(images.shape[-2:]))
        return Left()(explained, images, index)

    options = {"localizers": {"spy": spy}, "metrics": ["deletion"], "batch_size": 2, **statistics}
    with pytest.warns(UserWarning, match="images of 16 pixels, and they are measured at 224.*give image_size=16"):
        compare(Corner(), small, **options)
    for place, pixels in enumerate(photographs(4)):
        path = tmp_path / ("train", "test")[place % 2] / f"class {place // 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    opened = load_data("folder", tmp_path, image_size=24, validation=0).test
    with pytest.warns(UserWarning, match="images of 24 pixels, and they are measured at 224"):
        compare(Corner(), opened, **options)
    assert set(seen) == {(224, 224)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(Corner(), data, **options)
        compare(Corner(), opened.with_transform(None), image_size=16, **options)
        compare(Corner(), small, image_size=16, **options)
    assert seen[-1] == (16, 16)


def test_one_data_set_is_opened_without_reading_it_for_training_too():
    data = Items([(pixels, place % 2) for place, pixels in enumerate(photographs(40))], ["a", "b"])
    images = from_dataset(data, "pictures")
    assert len(images) == 40 and images.classes == ("a", "b") and images.names[3] == "pictures/000003"
    assert sum(data.reads) == 3 * 8  # eight are looked at, and read twice again to see whether they are steady
    with pytest.raises(InputError, match="the data set pictures is empty"):
        from_dataset(Items([]), "pictures")
    with pytest.raises(InputError, match="pictures item 0: the label is 7"):
        from_dataset(Items([(photographs(1)[0], 7)], ["a", "b"]), "pictures")


def test_photographs_in_files_are_decoded_when_they_are_wanted(tmp_path, monkeypatch):
    pictures = photographs()
    for place, pixels in enumerate(pictures[:2]):
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    given = [tmp_path / "1.png", pictures[2], str(tmp_path / "0.png"), pictures[3]]
    opened = open_photographs(given)
    assert list(opened.names) == [str(tmp_path / "1.png"), "image 1", str(tmp_path / "0.png"), "image 3"]
    for data, order in [(opened, [1, 2, 0, 3]), (opened.subset([2, 1]), [0, 2])]:
        for position, place in enumerate(order):
            assert np.array_equal(data[position]["image"].permute(1, 2, 0).numpy(), pictures[place])
    held = sum(part.nbytes for part in opened._pictures if isinstance(part, np.ndarray))
    assert held == pictures[2].nbytes + pictures[3].nbytes
    options = {"localizers": "center", "metrics": ["deletion"], **PLAIN}
    in_memory = compare(Corner(), [pictures[place] for place in (1, 2, 0, 3)], **options)
    assert compare(Corner(), given, **options).values == in_memory.values
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "1.png")
    assert opened[0]["image"].shape == (3, 16, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_broken_photograph_is_an_error_before_anything_is_computed(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    for place in range(3):
        Image.fromarray(noise).save(tmp_path / f"{place}.{suffix}")
    file = tmp_path / f"2.{suffix}"
    file.write_bytes(file.read_bytes()[:-20000])

    class Unasked(Corner):
        def forward(self, images):
            pytest.fail("asked before all photographs were read")

    with pytest.raises(InputError, match=f"2.{suffix}"):
        compare(Unasked(), tmp_path, "center", index=0, **PLAIN)
