import pytest
import torch
from torch import nn

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import MeaningfulPerturbation
from protomask.localizers.engine.masks import gaussian_blur
from tests.support.scores import Network, Region, pairs


def test_what_it_marks_is_the_evidence():
    images, _ = pairs(2, 32, 32)
    images[:, :, 8:16, 16:24] += 3
    saliency = MeaningfulPerturbation(cells=16, steps=40, image_blur=60, l1=1e-3)(
        Region(slice(8, 16), slice(16, 24)), images, torch.tensor([0, 1])
    )
    assert saliency.shape == (2, 32, 32) and saliency.amax() == 1
    assert (saliency[:, 8:16, 16:24].mean((1, 2)) > 4 * saliency.mean((1, 2))).all()


def test_two_steps_follow_the_equation():
    """One pair of 28 x 28 pixels and 7 x 7 cells, in float64; the mask's blur as in the room of masks, the shifts
    written out."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(6)).double()
    images, index = torch.randn(1, 3, 28, 28, dtype=torch.float64), torch.tensor([2])
    model(images)
    settings = MeaningfulPerturbation(cells=7, steps=2, jitter=16, l1=1e-4, tv=0.5)
    found = settings(Classifier(model), images, index)
    shifts = torch.randint(-2, 3, (2, 2), generator=torch.Generator().manual_seed(0))
    hidden = gaussian_blur(images, 10 / 8)
    cells, mean, square = torch.ones(1, 1, 7, 7, dtype=torch.float64), 0.0, 0.0
    for step in range(2):
        cells.requires_grad_()
        mask = gaussian_blur(nn.functional.interpolate(cells, (28, 28), mode="bilinear"), 5 / 8)
        shown = torch.roll(images * mask + hidden * (1 - mask), shifts[step].tolist(), (2, 3))
        variation = sum(
            (cells[0, 0, i, j] - cells[0, 0, k, m]).abs() ** 3
            for i in range(7)
            for j in range(7)
            for k, m in ((i + 1, j), (i, j + 1))
            if k < 7 and m < 7
        )
        loss = model(shown).softmax(1)[0, 2] + 1e-4 * (1 - cells).sum() + 0.5 * variation
        (gradient,) = torch.autograd.grad(loss, cells)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        new = cells.detach() - 0.1 * (mean / (1 - 0.9 ** (step + 1))) / (
            (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
        )
        cells = new.clamp(0, 1)
    expected = 1 - gaussian_blur(nn.functional.interpolate(cells, (28, 28), mode="bilinear"), 5 / 8)[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(found[0], expected.float(), atol=1e-4, rtol=0)


def test_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    images, index = pairs(3, 24, 31)
    images = images.double()
    quick = MeaningfulPerturbation(cells=8, steps=6)
    whole = quick(network, images, index)
    each = torch.cat([quick(network, images[place : place + 1], index[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)


@pytest.mark.parametrize("settings", [{"cells": 0}, {"steps": 0}, {"precision": "half"}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match="MeaningfulPerturbation"):
        MeaningfulPerturbation(**settings)
