"""What ``compare`` is given: data sets of torch, and photographs in files."""

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder

from protomask import InputError, compare
from protomask.data.datasets import from_dataset
from protomask.localization.photographs import open_photographs
from tests.localization.test_compare import PLAIN, Corner, photographs


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
