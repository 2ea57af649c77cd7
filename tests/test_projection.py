import pytest
import torch

from protomask.errors import InputError
from protomask.projection import project
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from tests.support.toy import ColourImages, ToyBackbone


def make(similarity="cosine", patch=1, batch_size=5):
    torch.manual_seed(1)
    data = ColourImages()
    net = ProtoPNet(
        ToyBackbone(),
        data.classes,
        image_size=16,
        prototypes_per_class=2,
        channels=6,
        patch=patch,
        similarity=similarity,
    )
    return net, data, TrainingSet(data, data, data.subset([]), batch_size=batch_size)


@pytest.mark.parametrize("similarity", ["l2-log", "cosine"])
@pytest.mark.parametrize("patch", [1, 2])
def test_every_prototype_becomes_its_nearest_own_class_patch(similarity, patch):
    net, data, setup = make(similarity, patch)
    before = net.prototypes.detach().clone()
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(len(data))])
    with torch.no_grad():
        features, maps = net.features(images), net._distance_maps(net.features(images))
    project(net, setup)
    for prototype in range(6):
        own = (data.labels == net.prototype_classes[prototype]).nonzero().flatten()
        flat = maps[own, prototype].flatten()
        where = int(flat.argmin())
        cells = maps.shape[2] * maps.shape[3]
        image, (row, column) = int(own[where // cells]), divmod(where % cells, maps.shape[3])
        assert net.source_positions[prototype] == image
        assert net.source_locations[prototype].tolist() == [row, column]
        torch.testing.assert_close(
            net.prototypes[prototype].detach(), features[image, :, row : row + patch, column : column + patch]
        )
    assert not torch.equal(before, net.prototypes)
    best = {"cosine": 1.0, "l2-log": torch.log(torch.tensor(1e4)).item()}[similarity]
    with torch.no_grad():
        scores = net.eval().score(images[net.source_positions], torch.arange(6))
    torch.testing.assert_close(scores, torch.full((6,), best), atol=0.02, rtol=0)


def test_batch_size_does_not_matter():
    found = []
    for batch_size in (2, 7, 24):
        net, _, setup = make(batch_size=batch_size)
        project(net, setup)
        found.append((net.source_positions.tolist(), net.source_locations.tolist()))
    assert found[0] == found[1] == found[2]


def test_the_first_of_equal_patches_wins():
    net, data, setup = make()
    data.pixels[:] = 0.5
    project(net, setup)
    assert net.source_positions.tolist() == [0, 0, 8, 8, 16, 16]
    assert net.source_locations.eq(0).all()


def test_a_class_without_images_is_an_error_and_changes_nothing():
    net, data, setup = make()
    before = net.prototypes.detach().clone()
    some = data.subset((data.labels != 1).nonzero().flatten())
    with pytest.raises(InputError, match="class 1"):
        project(net, TrainingSet(some, some, some))
    assert torch.equal(before, net.prototypes) and net.source_positions.eq(-1).all()


def test_mode_and_gradients_are_left_as_they_were():
    net, _, setup = make()
    net.train()
    net.backbone.requires_grad_(False)
    project(net, setup)
    assert net.training and net.backbone.training
    assert not any(p.requires_grad for p in net.backbone.parameters()) and net.prototypes.requires_grad


def test_distinct_prototypes_of_a_class_take_different_patches():
    net, data, setup = make()
    with torch.no_grad():
        net.prototypes[1::2] = net.prototypes[::2] + 1e-3
    usual = project(net, setup)
    assert net.source_positions[::2].equal(net.source_positions[1::2])
    net, _, _ = make()
    with torch.no_grad():
        net.prototypes[1::2] = net.prototypes[::2] + 1e-3
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(len(data))])
    with torch.no_grad():
        nearest = net.eval().candidates(images)
    row = project(net, setup, distinct=True)
    assert len(set(net.source_positions.tolist())) == 6 and row["mean_distance"] > usual["mean_distance"]
    for prototype, position in enumerate(net.source_positions.tolist()):
        assert data.labels[position] == net.prototype_classes[prototype]
        assert net.source_locations[prototype].tolist() == nearest.locations[position, prototype].tolist()


def test_distinct_does_not_depend_on_batches_and_gives_way_where_all_patches_are_the_same():
    found = []
    for batch_size in (2, 7, 24):
        net, data, setup = make(batch_size=batch_size)
        project(net, setup, distinct=True)
        found.append((net.source_positions.tolist(), net.source_locations.tolist()))
    assert found[0] == found[1] == found[2]
    net, data, setup = make()
    data.pixels[:] = 0.5
    project(net, setup, distinct=True)
    assert net.source_positions.tolist() == [0, 0, 8, 8, 16, 16]
