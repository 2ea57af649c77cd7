"""iGOS++: finds the evidence, follows its equation, never ends a step higher, and treats a batch as a loop."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import IGOS, get_localizer
from protomask.localizers.engine.masks import gaussian_blur
from protomask.localizers.engine.variation import Variation
from tests.support.scores import Network, Region, pairs


def test_what_it_marks_is_the_evidence():
    images, _ = pairs(2, 32, 32)
    images[:, :, 8:16, 16:24] += 3
    saliency = IGOS(cells=16, steps=8, points=4, image_blur=60, l1=1)(
        Region(slice(8, 16), slice(16, 24)), images, torch.tensor([0, 1])
    )
    assert saliency.shape == (2, 32, 32) and saliency.amax() == 1
    assert (saliency[:, 8:16, 16:24].mean((1, 2)) > 4 * saliency.mean((1, 2))).all()


def test_a_step_follows_the_equation():
    """One pair of 28 x 28 pixels and 7 x 7 cells, in float64: gradient and length of the step by loops."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(6)).double()
    image, index = torch.randn(1, 3, 28, 28, dtype=torch.float64), torch.tensor([2])
    model(image)
    settings = IGOS(cells=7, steps=1, points=3, noise=0.1, l1=0.01, variation=3.0)
    found = settings(Classifier(model), image, index)
    blurred, noise = gaussian_blur(image, 14.5 / 8), Variation(0.1)
    start = torch.zeros(1, dtype=torch.long)

    def enlarged(cells):
        return F.interpolate(cells, (28, 28), mode="bilinear")

    def loss(deletion, insertion):
        total, number = 0.0, 0
        both = enlarged(deletion) * enlarged(insertion)
        for sign, shown, hidden, mask in (
            (1, image, blurred, enlarged(deletion)),
            (-1, blurred, image, enlarged(insertion)),
            (1, image, blurred, both),
            (-1, blurred, image, both),
        ):
            for share in (1 / 3, 2 / 3, 1):
                seen = noise(shown * mask * share + hidden * (1 - mask * share), image, start, number)
                total, number = total + sign * model(seen).softmax(1)[0, 2] / 3, number + 1
        cells = deletion * insertion
        rough = (cells[..., 1:, :] - cells[..., :-1, :]).square().mean()
        rough = rough + (cells[..., 1:] - cells[..., :-1]).square().mean()
        large = enlarged(cells)
        for axis in (2, 3):
            weight = torch.exp(-(image.diff(dim=axis) ** 2) / 0.01).mean(1, keepdim=True)
            rough = rough + (weight * large.diff(dim=axis) ** 2).mean()
        return total / 2 + 0.01 * (1 - cells).mean() + 3.0 * rough / 2

    ones = [torch.ones(1, 1, 7, 7, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    base = loss(*ones)
    slopes = torch.autograd.grad(base, ones)
    promised, rate = sum(float(slope.square().sum()) for slope in slopes), 1000.0
    while True:
        moved = [(one.detach() - rate * slope).clamp(0, 1) for one, slope in zip(ones, slopes)]
        if loss(*moved) <= base - 1e-4 * rate * promised:
            break
        rate *= 0.2
    expected = 1 - (enlarged(moved[0]) * enlarged(moved[1]))[0, 0].detach()
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(found[0], expected.float(), atol=1e-4, rtol=0)


def test_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    images, index = pairs(3, 24, 31)
    images = images.double()
    quick = IGOS(cells=8, steps=4, points=2)
    whole = quick(network, images, index)
    each = torch.cat([quick(network, images[place : place + 1], index[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)


def test_by_name_with_settings():
    assert get_localizer("igos:steps=10,points=4") == IGOS(steps=10, points=4)


@pytest.mark.parametrize(
    "settings", [{"cells": 0}, {"steps": 0}, {"points": 0}, {"rate": 0.0}, {"noise": -1.0}, {"precision": "half"}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match=f"IGOS: .*{next(iter(settings))}"):
        IGOS(**settings)
