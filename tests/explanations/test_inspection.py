from dataclasses import replace

import numpy as np
import pytest
import torch

from protomask.explanations.files import read_nearest_maps, read_pictures, save_pictures
from protomask.explanations.inspection import (
    inspect_prototypes,
    nearest_maps,
    object_region,
    shares_outside,
    similarities_to,
    twins,
)
from protomask.explanations.records import Inspection, PrototypePicture, PrototypeRecord
from protomask.explanations.sources import picture_prototypes
from protomask.localizers import get_localizer
from protomask.projection import project
from protomask.run_folder import RunFolder
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from tests.support.toy import ColourImages, ToyBackbone


@pytest.fixture
def projected():
    torch.manual_seed(0)
    data, test = ColourImages(), ColourImages(4, seed=1)
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6).eval()
    setup = TrainingSet(data, data, data.subset([]), batch_size=5)
    project(net, setup)
    pictures = picture_prototypes(
        net, data, {"center": get_localizer("center"), "similarity": get_localizer("similarity")}
    )
    return net, data, test, setup, pictures


def test_neighbours_purity_and_activation_are_those_of_a_plain_loop(projected):
    net, data, test, setup, pictures = projected
    inspections = inspect_prototypes(net, pictures, data, test, setup)
    with torch.no_grad():
        similarities = torch.stack(
            [net(test[place]["image"].as_subclass(torch.Tensor)[None]).similarities[0] for place in range(len(test))]
        )
    for prototype, found in enumerate(inspections):
        column = similarities[:, prototype].tolist()
        order = sorted(range(12), key=lambda place: (-round(column[place], 5), place))
        own = int(net.prototype_classes[prototype])
        assert [each.similarity for each in found.nearest] == pytest.approx(
            [column[place] for place in order[:5]], abs=1e-5
        )
        for each in found.nearest:
            assert each.name == test.names[each.position] and each.similarity == pytest.approx(
                column[each.position], abs=1e-5
            )
            assert (
                each.own == (int(test.labels[each.position]) == own)
                and each.class_name == test.classes[int(test.labels[each.position])]
            )
        assert found.ranked == 4  # four test images of each class
        assert found.purity == sum(int(test.labels[place]) == own for place in order[:4]) / 4
        assert (
            found.activated == sum(value >= 0.8 * pictures[prototype].record.similarity for value in column)
            and found.images == 12
        )


def test_a_prototype_that_is_not_like_its_own_source_is_found_nowhere(projected):
    net, data, test, setup, pictures = projected
    none = replace(pictures[0].record, similarity=0.0)
    similarities = torch.full((12, 6), 0.5)
    similarities[:, 0] = 0.0
    similarities[3, 0] = 0.1
    pictures = [pictures[0].changed(record=none), *pictures[1:]]
    found = inspect_prototypes(net, pictures, data, test, setup, similarities)
    assert found[0].activated == 1, "where it is at all"


def test_the_share_outside_is_that_of_the_map_beside_the_box(projected):
    net, data, test, setup, pictures = projected
    for found, position in zip(inspect_prototypes(net, pictures, data, test, setup), net.source_positions.tolist()):
        row, column = data.corners[position].tolist()
        saliency = pictures[found.prototype].maps["center"].astype(float)
        inside = saliency[row : row + 8, column : column + 8].sum()
        assert found.outside["center"] == pytest.approx(1 - inside / saliency.sum(), abs=1e-5)
        assert ("background" in found.flags) == (found.outside["center"] > 0.5)


def record(**changes):
    values = {
        "prototype": 0,
        "class_name": "a",
        "source": "a/0",
        "location": (0, 0),
        "similarity": 1.0,
        "patch_box": (0, 0, 4, 4),
        "weight": 1.0,
    }
    return PrototypeRecord(**{**values, **changes})


@pytest.mark.parametrize(("where", "share"), [(slice(0, 4), 1.0), (slice(4, 12), 0.0), (slice(0, 8), 0.5)])
def test_shares_outside_on_a_known_scene(where, share):
    class Boxed(ColourImages):
        def load(self, index):
            sample = super().load(index)
            sample["boxes"][0] = torch.tensor([4.0, 0.0, 12.0, 16.0])
            return sample

    saliency = np.zeros((16, 16), np.float32)
    saliency[:, where] = 1
    picture = PrototypePicture(record(), np.zeros((16, 16, 3), np.uint8), {"mdm": saliency})
    assert shares_outside([picture], Boxed(), [0], [0])[0]["mdm"] == pytest.approx(share)


def test_a_blank_map_lies_neither_on_the_object_nor_beside_it():
    blank, full = np.zeros((16, 16), np.float32), np.ones((16, 16), np.float32)
    for maps, known in (
        ({"mdm": blank}, []),
        ({"mdm": full, "center": blank}, ["mdm"]),
        ({"mdm": blank, "center": full}, []),  # another localizer's share would be taken for the first one's
    ):
        picture = PrototypePicture(record(), np.zeros((16, 16, 3), np.uint8), maps)
        assert list(shares_outside([picture], ColourImages(), [0], [0])[0]) == known


def test_a_box_round_the_whole_image_and_an_empty_mask_tell_nothing():
    sample = ColourImages()[0]
    assert object_region(sample, 0).sum() == 64
    sample["boxes"][0] = torch.tensor([0.0, 0.0, 16.0, 16.0])
    assert object_region(sample, 0) is None
    assert object_region({**sample, "mask": torch.zeros(1, 16, 16)}, 0) is None
    assert object_region({**sample, "mask": torch.eye(16)[None]}, 0).sum() == 16


def test_the_object_of_another_finding_is_none_of_a_prototypes_own(projected):
    """Every image has a finding with a box and one without: no prototype of the second can be called background."""
    net, data, test, setup, pictures = projected

    class TwoFindings(ColourImages):
        """The bright square is a box of class 0 alone."""

        def load(self, index):
            sample = super().load(index)
            return {**sample, "box_labels": torch.zeros(len(sample["boxes"]), dtype=torch.long)}

    beside = {"mdm": np.eye(16, dtype=np.float32)[::-1].copy()}
    pictures = [each.changed() for each in pictures]
    for each in pictures:
        each.maps.clear()
        each.maps.update(beside)
    for found in inspect_prototypes(net, pictures, TwoFindings(), test, setup):
        owner = int(net.prototype_classes[found.prototype])
        assert bool(found.outside) is (owner == 0), owner
        assert owner == 0 or "background" not in found.flags
    sample = data[0] | {"boxes": torch.tensor([[0.0, 0, 4, 4], [8, 8, 16, 16]]), "box_labels": torch.tensor([2, 1])}
    assert object_region(sample, 2)[:4, :4].all() and object_region(sample, 2).sum() == 16
    assert object_region(sample, 1).sum() == 64 and object_region(sample, 0) is None


def test_the_lighter_one_of_two_equal_prototypes_of_a_class_is_the_duplicate(projected):
    net = projected[0]
    with torch.no_grad():
        net.prototypes.copy_(torch.nn.functional.normalize(torch.randn(net.prototypes.shape), dim=1))
        assert twins(net) == [None] * 6
        net.prototypes[3] = 3 * net.prototypes[2]  # the same direction
        net.prototypes[5] = net.prototypes[0]  # another class: no duplicate
        net.last_layer.weight[1, 3] = 9
    assert twins(net) == [None, None, 3, None, None, None]


def test_nearest_maps_are_the_similarity_maps_of_those_images(projected):
    net, data, test, setup, pictures = projected
    inspections = inspect_prototypes(net, pictures, data, test, setup)
    maps = nearest_maps(net, inspections, test, setup)
    assert maps.shape == (6, 5, 4, 4) and maps.max() == 1
    image = test[inspections[4].nearest[2].position]["image"].as_subclass(torch.Tensor)[None]
    with torch.no_grad():
        expected = net.similarity_maps(image)[0, 4]
    np.testing.assert_allclose(maps[4, 2], (expected / expected.max()).numpy(), atol=1e-5)


def test_without_test_images_nothing_is_claimed(projected):
    net, data, test, setup, pictures = projected
    found = inspect_prototypes(net, pictures, data, test.subset([]), setup)[0]
    assert (found.activated, found.purity, found.images, found.nearest) == (None, None, 0, ())
    assert nearest_maps(net, [found], test, setup).shape[1] == 0
    assert similarities_to(net, test.subset([]), setup).shape == (0, 6)


def test_what_is_written_is_read_again(projected, tmp_path):
    net, data, test, setup, pictures = projected
    run = RunFolder(tmp_path)
    save_pictures(run, pictures)
    assert [each.inspection for each in read_pictures(run)] == [None] * 6 and read_nearest_maps(run) is None
    inspections = inspect_prototypes(net, pictures, data, test, setup)
    maps = nearest_maps(net, inspections, test, setup)
    save_pictures(
        run,
        [
            PrototypePicture(each.record, each.image, each.maps, inspection)
            for each, inspection in zip(pictures, inspections)
        ],
        maps,
    )
    again = read_pictures(run)
    assert [each.inspection for each in again] == inspections and isinstance(again[0].inspection, Inspection)
    assert np.abs(again[2].maps["similarity"] - pictures[2].maps["similarity"]).max() <= 0.5 / 255 + 1e-6
    assert np.abs(read_nearest_maps(run) - maps).max() <= 0.5 / 255 + 1e-6
