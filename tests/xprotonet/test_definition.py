"""XProtoNet against a slow float64 version written from the published definitions, position by position."""

import math

import pytest
import torch

from protomask.errors import InputError
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet
from xprotonet.pooling import cosine_distances, pool

VARIANTS = [("abs", "relu"), ("abs", "shifted"), ("sigmoid", "relu"), ("sigmoid", "shifted")]
every_variant = pytest.mark.parametrize("activation, readout", VARIANTS)


def network(activation="abs", readout="relu", classes=3, per_class=2):
    torch.manual_seed(0)
    net = (
        XProtoNet(
            ToyBackbone(),
            [f"c{number}" for number in range(classes)],
            image_size=16,
            prototypes_per_class=per_class,
            channels=5,
            activation=activation,
            readout=readout,
        )
        .double()
        .eval()
    )
    if activation == "sigmoid":
        torch.nn.init.normal_(net.occurrence[-1].bias)
    return net


def convolve(layers, vector):
    """1x1 convolutions and ReLUs on the vector of one position."""
    for layer in layers:
        if isinstance(layer, torch.nn.ReLU):
            vector = [max(0.0, value) for value in vector]
        else:
            bias = [0.0] * len(layer.weight) if layer.bias is None else layer.bias.tolist()
            vector = [
                sum(w * v for w, v in zip(row, vector)) + b for row, b in zip(layer.weight.flatten(1).tolist(), bias)
            ]
    return vector


def slow_cosines(net, image, mean=False):
    """(P,) cosines and (P, h, w) occurrence maps of one image, in plain numbers."""
    grid = net.backbone(image[None])[0]
    count, height, width = net.prototype_count, *grid.shape[1:]
    pooled = [[0.0] * net.prototypes.shape[1] for _ in range(count)]
    occurrences = torch.empty(count, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            cell = grid[:, row, column].tolist()
            feature = convolve(net.add_on, cell)
            for prototype, raw in enumerate(convolve(net.occurrence, cell)):
                weight = abs(raw) if net.activation == "abs" else 1 / (1 + math.exp(-raw))
                occurrences[prototype, row, column] = weight
                for channel, value in enumerate(feature):
                    pooled[prototype][channel] += weight * value / (height * width if mean else 1)
    cosines = []
    for vector, other in zip(pooled, net.prototypes.tolist()):
        dot = sum(a * b for a, b in zip(vector, other))
        cosines.append(dot / math.hypot(*vector) / math.hypot(*other))
    return cosines, occurrences


@every_variant
def test_forward_equals_the_definition(activation, readout):
    net = network(activation, readout)
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        prediction, maps = net(images), net.similarity_maps(images)
        for image in range(3):
            cosines, occurrences = slow_cosines(net, images[image])
            torch.testing.assert_close(maps[image], occurrences)
            assert prediction.distances[image].tolist() == pytest.approx([1 - cosine for cosine in cosines], abs=1e-12)
            expected = [max(0.0, cosine) if readout == "relu" else (cosine + 1) / 2 for cosine in cosines]
            assert prediction.similarities[image].tolist() == pytest.approx(expected, abs=1e-12)
            for label in range(3):
                weights = [net.scale * (1.0 if prototype // 2 == label else -0.5) for prototype in range(6)]
                logit = sum(weight * value for weight, value in zip(weights, expected))
                assert prediction.logits[image, label].item() == pytest.approx(logit, abs=1e-10)


@every_variant
def test_sum_and_mean_pooling_have_the_same_cosine(activation, readout):
    net = network(activation, readout)
    image = torch.rand(3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        mean, _ = slow_cosines(net, image, mean=True)
        features, occurrences = net.maps(image[None])
        fast_mean = (occurrences[:, :, None] * features[:, None]).mean((3, 4))
        torch.testing.assert_close(pool(features, occurrences), fast_mean * 16)
        assert (1 - net(image[None]).distances[0]).tolist() == pytest.approx(mean, abs=1e-12)
        assert (1 - cosine_distances(fast_mean, net.prototypes)[0]).tolist() == pytest.approx(mean, abs=1e-12)


@every_variant
def test_score_and_maps_of_one_prototype_agree_with_those_of_all(activation, readout):
    net = network(activation, readout)
    images = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    index = torch.tensor([0, 5, 2, 2, 4])
    with torch.no_grad():
        torch.testing.assert_close(net.score(images, index), net(images).similarities[torch.arange(5), index])
        maps = net.similarity_maps(images)
        assert maps.shape == (5, 6, 4, 4) and maps.min() >= 0
        torch.testing.assert_close(net.similarity_maps(images, index), maps[torch.arange(5), index])


@every_variant
def test_score_gradient_is_that_of_the_definition(activation, readout):
    net = network(activation, readout)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net.score(x, torch.tensor([1, 4])), images, atol=1e-5, fast_mode=True)


def test_an_occurrence_map_of_zeros_gives_no_similarity_and_finite_gradients():
    net = network().float()
    with torch.no_grad():
        net.occurrence[-1].weight.zero_()
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    prediction = net(images)
    assert prediction.similarities.eq(0).all() and prediction.distances.eq(1).all()
    (prediction.distances.sum() + net.score(images, torch.tensor([0, 1])).sum()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())
    assert images.grad.isfinite().all()


def test_the_scale_of_occurrences_and_prototypes_changes_nothing():
    net = network()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        before = net(images)
        net.occurrence[-1].weight.mul_(1e-3)
        net.prototypes.mul_(50)
        torch.testing.assert_close(net(images).logits, before.logits)


def test_prototype_layers_stay_in_float32_under_autocast():
    torch.manual_seed(0)
    features, occurrences, prototypes = torch.rand(2, 16, 4, 4), torch.rand(2, 7, 4, 4), torch.rand(7, 16)
    exact = cosine_distances(pool(features.double(), occurrences.double()), prototypes.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine_distances(pool(features, occurrences), prototypes)
        prediction = network().float()(torch.rand(2, 3, 16, 16))
    assert found.dtype == prediction.logits.dtype == prediction.distances.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, atol=1e-6, rtol=0)


def test_settings_rebuild_the_network(monkeypatch):
    net = network("sigmoid", "shifted")
    settings = net.settings()
    monkeypatch.setattr("xprotonet.model.build_backbone", lambda name: ToyBackbone())
    again = XProtoNet.from_settings(settings).double().eval()
    again.load_state_dict(net.state_dict())
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert again.settings() == settings and net.scale == 6
    assert torch.equal(again(images).logits, net(images).logits)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"activation": "tanh"}, "occurrence activation 'tanh'.*abs, sigmoid"),
        ({"readout": "log"}, "read-out 'log'.*relu, shifted"),
        ({"channels": 0}, "prototype channels is 0"),
        ({"prototypes_per_class": 0}, "prototypes per class is 0"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        XProtoNet(ToyBackbone(), ["a", "b"], image_size=16, **wrong)


def test_patch_box_is_the_cell():
    assert network().patch_box((1, 3)) == (12, 4, 16, 8)
