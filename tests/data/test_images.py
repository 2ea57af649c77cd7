import pickle

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from protomask.data import AnnotatedImages, collate
from protomask.data.geometry import as_boxes
from protomask.errors import InputError


class Numbered(AnnotatedImages):
    """Image i is filled with i and has i boxes."""

    def __init__(self, count=6):
        super().__init__(["even", "odd"], [i % 2 for i in range(count)], [f"image {i}" for i in range(count)])

    def load(self, index):
        image = tv_tensors.Image(torch.full((3, 4, 5), index, dtype=torch.uint8))
        return {"image": image, "boxes": as_boxes(torch.tensor([[0.0, 0.0, 2.0, 2.0]] * index), (4, 5))}


def test_a_subset_of_a_subset_keeps_image_label_and_name_together():
    data = Numbered().subset([5, 3, 2]).subset(torch.tensor([2, 0]))
    assert data.names == ("image 2", "image 5")
    assert data.labels.tolist() == [0, 1]
    assert [int(sample["image"].max()) for sample in data] == [2, 5]
    assert [sample["position"] for sample in data] == [0, 1]
    assert [sample["label"] for sample in data] == [0, 1]


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, lambda mask: map(np.bool_, mask)])
def test_a_mask_takes_the_images_at_which_it_is_true(kind):
    data = Numbered().subset([5, 3, 2, 0])
    assert data.subset(kind([True, False, False, True])).names == ("image 5", "image 0")
    assert len(data.subset(kind([False] * 4))) == 0
    with pytest.raises(InputError, match=r"positions is a mask of the shape \(3,\); give \(4,\), or whole numbers"):
        data.subset(kind([True, False, True]))


def test_positions_are_whole_numbers_of_any_kind():
    data = Numbered()
    for positions in (
        np.arange(6)[::-2],
        np.array([5, 3, 1], ">i4"),
        np.array([5, 3, 1], "u2"),
        [5.0, 3, 1],
        (5, 3, 1),
    ):
        assert data.subset(positions).names == ("image 5", "image 3", "image 1")
    assert len(data.subset([])) == 0
    for wrong in ([0.9], ["1"], [float("nan")], "12", 3, None, [[1], [2, 3]]):
        with pytest.raises(InputError, match="positions is .*; give whole numbers"):
            data.subset(wrong)


def test_a_transform_belongs_to_its_copy_alone():
    data = Numbered()
    marked = data.with_transform(lambda sample: sample | {"seen": True})
    assert "seen" in marked[0] and "seen" not in data[0] and "seen" not in marked.read(0)
    assert "seen" in marked.subset([1])[0]


def test_positions_outside_are_index_errors_and_negative_ones_count_from_the_end():
    data = Numbered()
    assert data[-1]["position"] == 5 and int(data[-1]["image"].max()) == 5
    with pytest.raises(IndexError):
        data[6]


def test_the_fingerprint_sees_order_labels_and_names():
    data = Numbered()
    other = Numbered()
    other.labels = other.labels.flip(0)
    variants = (data, data.subset([1, 0]), data.subset([0, 1]), other)
    assert len({variant.fingerprint() for variant in variants}) == 4
    assert data.fingerprint() == Numbered().fingerprint() == pickle.loads(pickle.dumps(data)).fingerprint()


def test_collate_stacks_what_every_sample_has_and_lists_boxes():
    samples = [Numbered()[i] for i in (0, 3)]
    batch = collate(samples)
    assert batch["images"].shape == (2, 3, 4, 5) and type(batch["images"]) is torch.Tensor
    assert batch["labels"].tolist() == [0, 1] and batch["positions"].tolist() == [0, 3]
    assert [tuple(boxes.shape) for boxes in batch["boxes"]] == [(0, 4), (3, 4)]
    assert "mask" not in batch and "points" not in batch


def test_as_many_labels_as_names():
    with pytest.raises(ValueError, match="2 labels for 1 names"):
        AnnotatedImages(["a"], [0, 0], ["x"])
