import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import ReceptiveField
from protomask.localizers.base import min_max
from tests.support.scores import Network, pairs


class Cells(nn.Module):
    """Similarity maps: means over cells of 8 x 8 pixels, which see 8 x 8 pixels and nothing else."""

    def similarity_maps(self, images, index):
        return F.avg_pool2d(images.mean(1, keepdim=True), 8)[:, 0]


def test_a_cell_becomes_the_gaussian_of_what_it_sees():
    images = torch.zeros(1, 3, 24, 40)
    images[0, :, 8:16, 24:32] = 1
    found = ReceptiveField()(Cells(), images, torch.tensor([0]))[0]
    # A uniform square of 8 pixels: centre at 11.5 and 27.5, variance (64 - 1) / 12, and 1/12 for the pixel itself.
    variance = 64 / 12
    rows, columns = torch.arange(24.0)[:, None], torch.arange(40.0)
    expected = torch.exp(-((rows - 11.5) ** 2 + (columns - 27.5) ** 2) / (2 * variance))
    torch.testing.assert_close(found, min_max(expected), atol=1e-4, rtol=0)


def test_cells_count_by_their_similarity():
    images = torch.zeros(1, 3, 16, 48)
    images[0, :, :8, :8], images[0, :, 8:, 40:] = 1.0, 0.5
    found = ReceptiveField()(Cells(), images, torch.tensor([0]))[0]
    assert found[3:5, 3:5].mean() / found[11:13, 43:45].mean() == pytest.approx(2, rel=1e-3)


def test_slanted_receptive_fields_stay_slanted():
    """The covariance across: what a cell sees along a diagonal lies along that diagonal."""

    class Diagonal:
        def similarity_maps(self, images, index):
            on = (images * torch.eye(16)).sum((1, 2, 3))
            return torch.stack([on, on * 0], 1)[:, None]

    found = ReceptiveField()(Diagonal(), torch.ones(1, 3, 16, 16), torch.tensor([0]))[0]
    assert found[2, 2] > 100 * found[2, 13] and found[7, 7] > found[2, 2]
    # Along the diagonal the variance is that of 0..15 twice over, and the pixel's own.
    along = 2 * (15 * 17 / 12) + 1 / 12
    assert float(found[2, 2] / found[7, 7]) == pytest.approx(
        math.exp(-(2 * 5.5**2 - 2 * 0.5**2) / (2 * along)), rel=0.02
    )


def test_batch_loop_and_state():
    network, (images, index) = Network().train(), pairs(5, 21, 26)
    with torch.inference_mode():
        whole = ReceptiveField(batch_size=2)(network, images, index)
    single = torch.cat(
        [ReceptiveField()(network, images[place : place + 1], index[place : place + 1]) for place in range(5)]
    )
    torch.testing.assert_close(whole, single, atol=1e-4, rtol=0)
    assert network.training and network.body[3].training and not whole.requires_grad
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())

    def fail(*_):
        raise ZeroDivisionError

    handle = network.body.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        ReceptiveField()(network, images, index)
    handle.remove()
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())


def test_flat_maps_and_wrong_models():
    class Flat(Cells):
        def similarity_maps(self, images, index):
            return super().similarity_maps(images, index) * 0 + 3

    class Detached(Cells):
        def similarity_maps(self, images, index):
            return super().similarity_maps(images, index).detach()

    images, index = pairs(1)
    assert ReceptiveField()(Flat(), images, index).abs().max() == 0
    with pytest.raises(InputError, match="have no gradient"):
        ReceptiveField()(Detached(), images, index)
    with pytest.raises(InputError, match="Classifier has no similarity maps"):
        ReceptiveField()(Classifier(Network()), images, index)
