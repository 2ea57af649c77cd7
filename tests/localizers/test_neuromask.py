import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import NeuroMask
from protomask.localizers.engine.masks import seeded_noise
from protomask.localizers.neuromask import high_pass
from tests.support.scores import Network, Region, pairs

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("side", [3, 5])
def test_high_pass_is_the_published_kernel(side):
    weights = torch.randn(2, 1, 11, 9, dtype=torch.float64)
    kernel = -torch.ones(1, 1, side, side, dtype=torch.float64)
    kernel[..., side // 2, side // 2] = side**2 - 1
    torch.testing.assert_close(high_pass(weights, side), F.conv2d(weights, kernel))


def test_kernel_shrinks_with_the_image():
    weights = torch.randn(1, 1, 4, 9)
    torch.testing.assert_close(high_pass(weights, 5), high_pass(weights, 3))


def test_two_steps_follow_the_published_equation():
    """One pair, float64, a classifier of ImageNet's normalisation, written out with TensorFlow's RMSProp."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(6)).double()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    center, scale = (torch.tensor(value, dtype=torch.float64).view(1, 3, 1, 1) for value in (mean, std))
    pixels, index = torch.rand(1, 3, 14, 17, dtype=torch.float64), torch.tensor([2])
    images = (pixels - center) / scale
    model(images)
    found = NeuroMask.imagenet(steps=2)(Classifier(model, mean=mean, std=std), images, index)
    weights = 20 * seeded_noise(images, index, 14 * 17, 0).view(1, 1, 14, 17).double() - 10
    kernel = -torch.ones(1, 1, 5, 5, dtype=torch.float64)
    kernel[..., 2, 2] = 24
    square = torch.ones_like(weights)
    for _ in range(2):
        weights.requires_grad_()
        masked = (pixels * torch.sigmoid(weights / 0.3) - center) / scale
        loss = (
            0.4 * F.cross_entropy(model(masked), index)
            + 0.35 * (weights + 10).abs().mean()
            + 0.03 * F.conv2d(weights, kernel).square().mean()
        )
        (gradient,) = torch.autograd.grad(loss, weights)
        square = 0.9 * square + 0.1 * gradient**2
        weights = (weights - 0.03 * gradient / (square + 1e-10).sqrt()).detach()
    expected = torch.sigmoid(weights / 0.3)[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(found[0], expected.float(), atol=1e-5, rtol=0)


def test_the_map_lies_on_the_evidence():
    region = Region(slice(0, 8), slice(8, 16))
    region.mean, region.std = PLAIN["mean"], PLAIN["std"]
    images = torch.ones(2, 3, 16, 16)
    saliency = NeuroMask(prediction_weight=20.0)(region, images, torch.tensor([0, 1]))
    assert saliency.shape == (2, 16, 16) and saliency.dtype == torch.float32
    assert (saliency[:, :8, 8:].sum((1, 2)) > 0.6 * saliency.sum((1, 2))).all()


def test_hidden_is_black_whatever_the_normalisation():
    """The score counts what is brighter than black: a map that hid in the mean colour would see nothing to gain."""
    seen = []

    class Watched:
        mean, std = (0.5, 0.4, 0.3), (0.5, 0.2, 0.1)

        def score(self, images, index):
            seen.append(images.detach())
            return images.mean((1, 2, 3))

    NeuroMask(steps=1)(Watched(), torch.zeros(1, 3, 12, 12), torch.tensor([0]))
    empty = seen[1]
    torch.testing.assert_close(empty[0, :, 0, 0], torch.tensor([-1.0, -2.0, -3.0]))
    masked = seen[-1]
    assert (masked >= empty - 1e-6).all() and (masked <= 0).all()


def test_the_seed_decides_and_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    network.mean, network.std = PLAIN["mean"], PLAIN["std"]
    images, index = pairs(3)
    images = images.double()
    quick = NeuroMask(steps=6)
    whole = quick(network, images, index)
    each = torch.cat([quick(network, images[place : place + 1], index[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)
    assert torch.equal(whole, quick(network, images, index))
    assert not torch.equal(whole, NeuroMask(steps=6, seed=1)(network, images, index))


def test_probabilities_count_by_their_cross_entropy():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 4))
    images, index = torch.rand(2, 3, 9, 9), torch.tensor([0, 3])
    one, two = (
        NeuroMask(steps=4)(Classifier(model, kind, **PLAIN), images, index)
        for kind in ("probability", "log-probability")
    )
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_without_the_normalisation_it_refuses_and_says_what_to_give():
    with pytest.raises(InputError, match="Region does not know.*Classifier"):
        NeuroMask(steps=1)(Region(slice(0, 4), slice(0, 4)), *pairs(1))
    with pytest.raises(InputError, match="Classifier does not know"):
        NeuroMask(steps=1)(Classifier(nn.Linear(2, 2)), *pairs(1))


@pytest.mark.parametrize(
    "settings", [{"kernel": 4}, {"kernel": 1}, {"steps": 0}, {"temperature": 0.0}, {"precision": "half"}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match="NeuroMask"):
        NeuroMask(**settings)
