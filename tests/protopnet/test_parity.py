"""ProtoPNet against a slow float64 version written from the published definitions, position by position."""

import math

import pytest
import torch
from torch.nn import functional as F

from protomask.training.costs import cluster_cost, separation_cost, wrong_class_weights
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss
from protopnet.prototypes import cosines, squared_distances
from tests.support.toy import ToyBackbone


def network(similarity, patch=1, classes=3, per_class=2):
    torch.manual_seed(0)
    return (
        ProtoPNet(
            ToyBackbone(),
            [f"c{number}" for number in range(classes)],
            image_size=16,
            prototypes_per_class=per_class,
            channels=5,
            patch=patch,
            similarity=similarity,
        )
        .double()
        .eval()
    )


def slow_maps(features, prototypes, similarity):
    """Distances (B, P, h, w) by four nested loops over plain numbers."""
    images, _, height, width = features.shape
    count, _, rows, columns = prototypes.shape
    result = torch.empty(images, count, height - rows + 1, width - columns + 1, dtype=torch.float64)
    for image in range(images):
        for prototype in range(count):
            for row in range(height - rows + 1):
                for column in range(width - columns + 1):
                    patch = features[image, :, row : row + rows, column : column + columns].flatten()
                    vector = prototypes[prototype].flatten()
                    if similarity == "l2-log":
                        result[image, prototype, row, column] = ((patch - vector) ** 2).sum()
                    else:
                        result[image, prototype, row, column] = 1 - (patch @ vector) / (patch.norm() * vector.norm())
    return result


@pytest.mark.parametrize("similarity", ["l2-log", "cosine"])
@pytest.mark.parametrize("patch", [1, 2])
def test_forward_equals_the_definition(similarity, patch):
    net = network(similarity, patch)
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        prediction = net(images)
        maps = slow_maps(net.features(images), net.prototypes, similarity)
    distances = maps.flatten(2).min(2).values
    torch.testing.assert_close(prediction.distances, distances, atol=1e-10, rtol=1e-8)
    for image in range(4):
        for prototype in range(6):
            d = distances[image, prototype].item()
            expected = math.log((d + 1) / (d + 1e-4)) if similarity == "l2-log" else max(0.0, 1 - d)
            assert prediction.similarities[image, prototype].item() == pytest.approx(expected, abs=1e-6)
        for label in range(3):
            weights = [net.scale * (1.0 if prototype // 2 == label else -0.5) for prototype in range(6)]
            logit = sum(weight * value for weight, value in zip(weights, prediction.similarities[image].tolist()))
            assert prediction.logits[image, label].item() == pytest.approx(logit, abs=1e-8)


@pytest.mark.parametrize("similarity", ["l2-log", "cosine"])
@pytest.mark.parametrize("patch", [1, 3])
def test_score_and_maps_agree_with_forward(similarity, patch):
    net = network(similarity, patch)
    images = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    index = torch.tensor([0, 5, 2, 2, 4])
    with torch.no_grad():
        similarities = net(images).similarities
        torch.testing.assert_close(net.score(images, index), similarities.gather(1, index[:, None]).squeeze(1))
        maps = net.similarity_maps(images)
        assert maps.shape == (5, 6, 5 - patch, 5 - patch)
        torch.testing.assert_close(maps.flatten(2).amax(2), similarities)
        torch.testing.assert_close(net.similarity_maps(images, index), maps[torch.arange(5), index])


@pytest.mark.parametrize("similarity", ["l2-log", "cosine"])
def test_score_gradient_is_that_of_the_definition(similarity):
    net = network(similarity, 2)
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net.score(x, torch.tensor([1, 4])), images, atol=1e-4)


def test_losses_equal_the_published_formula():
    net = network("l2-log")
    images, labels = torch.rand(6, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    terms = ProtoPNetLoss()(net, images, labels)
    prediction = net(images)
    cluster = separation = cross_entropy = 0.0
    for image, label in enumerate(labels.tolist()):
        row = prediction.distances[image].tolist()
        cluster += min(row[prototype] for prototype in range(6) if prototype // 2 == label) / 6
        separation += min(row[prototype] for prototype in range(6) if prototype // 2 != label) / 6
        logits = prediction.logits[image].tolist()
        cross_entropy += (math.log(sum(math.exp(value) for value in logits)) - logits[label]) / 6
    l1 = 12 * 0.5
    assert terms["cluster"].item() == pytest.approx(cluster)
    assert terms["separation"].item() == pytest.approx(separation)
    assert terms["l1"].item() == pytest.approx(l1)
    assert terms["loss"].item() == pytest.approx(cross_entropy + 0.8 * cluster - 0.08 * separation + 1e-4 * l1)
    last = ProtoPNetLoss(part="last")(net, images, labels)["loss"]
    assert last.item() == pytest.approx(cross_entropy + 1e-4 * l1)


def test_cluster_cost_does_not_saturate_far_away():
    """The official mask, (max_dist - d) * mask, gives max_dist where every own distance is larger."""
    distances = torch.tensor([[1e6, 1.0]])
    assert cluster_cost(distances, torch.tensor([0]), torch.tensor([0, 1])).item() == 1e6
    assert separation_cost(distances, torch.tensor([1]), torch.tensor([0, 1])).item() == 1e6


def test_wrong_class_weights_leave_the_own_class_out():
    weight = torch.tensor([[3.0, -0.5], [-0.25, 7.0]])
    assert wrong_class_weights(weight, torch.eye(2, dtype=torch.bool)).item() == 0.75


def test_prototype_layers_stay_in_float32_under_autocast():
    torch.manual_seed(0)
    features, prototypes = torch.rand(2, 16, 4, 4), torch.rand(7, 16, 1, 1)
    exact = (
        squared_distances(features.double(), prototypes.double()).float(),
        cosines(features.double(), prototypes.double()).float(),
    )
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_distances(features, prototypes), cosines(features, prototypes)
    assert found[0].dtype == found[1].dtype == torch.float32
    torch.testing.assert_close(found[0], exact[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], exact[1], atol=1e-6, rtol=0)


def test_patch_box_covers_its_cells():
    net = network("cosine", 2)
    assert net.patch_box((0, 0)) == (0, 0, 8, 8)
    assert net.patch_box((1, 2)) == (8, 4, 16, 12)
    assert F.one_hot(net.prototype_classes).bool().T.equal(net.own_class())
