import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import MDM
from tests.localizers.toys import Constant, Linear, Network, Region, pairs

QUICK = MDM(sizes=(4, 8), keep_steps=12, destroy_steps=8)


def test_the_map_lies_on_the_evidence():
    images = torch.ones(2, 3, 24, 24)
    saliency = QUICK(Region(slice(0, 12), slice(12, 24)), images, torch.tensor([0, 1]))
    assert saliency.shape == (2, 24, 24) and saliency.dtype == torch.float32
    inside = saliency[:, :12, 12:].sum((1, 2)) / saliency.sum((1, 2))
    assert (inside > 0.8).all()


def test_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    images, index = pairs(5)
    images = images.double()
    whole = QUICK(network, images, index)
    each = torch.cat([QUICK(network, images[place:place + 1], index[place:place + 1]) for place in range(5)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)


@pytest.mark.parametrize("score", [0.0, -3.0, 2.0])
def test_scores_that_do_not_depend_on_the_image_give_no_nan(score):
    saliency = QUICK(Constant(score), torch.ones(1, 3, 17, 23), torch.tensor([0]))
    assert saliency.isfinite().all() and saliency.min() >= 0 and saliency.max() <= 1


def test_negative_scores_are_explained():
    weights = torch.zeros(1, 3, 24, 24)
    weights[:, :, :12, :12] = 1 / 432
    saliency = QUICK(Linear(weights, offset=-5.0), torch.ones(1, 3, 24, 24), torch.tensor([0]))
    assert saliency[0, :12, :12].sum() > 0.8 * saliency.sum()


def test_the_model_is_left_as_it_was_also_after_an_error():
    network = Network().train()
    modes = [module.training for module in network.modules()]
    images, index = pairs(2)
    with torch.inference_mode():
        QUICK(network, images, index)

    class Broken(Exception):
        pass

    def fail(*_):
        raise Broken

    handle = network.body.register_forward_hook(fail)
    with pytest.raises(Broken):
        QUICK(network, images, index)
    handle.remove()
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_keeping_follows_its_equation():
    """Two steps of Adam in float64, written out for one pair."""
    network = Network().double().eval()
    images, index = (value.double() if value.is_floating_point() else value for value in pairs(1))
    settings = MDM(sizes=(6,), keep_steps=2, destroy_steps=0)
    found = settings(network, images, index)
    up = torch.nn.Upsample(size=(24, 24), mode="bilinear")
    whole, empty = network.score(images, index).detach(), network.score(images * 0, index).detach()
    scale = torch.maximum(whole - empty, 0.01 * whole.abs())
    vector, mean, square = torch.ones(1, 1, 6, 6, dtype=torch.float64), 0.0, 0.0
    for step in (1, 2):
        vector = vector.detach().requires_grad_()
        loss = ((whole - network.score(images * up(vector), index)) / scale).relu().sum() + vector.mean()
        gradient, = torch.autograd.grad(loss, vector)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        vector = (vector - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)).clamp(0, 1)
    expected = up(vector.detach())[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min()) if expected.max() > expected.min() + 1e-5 else expected * 0
    torch.testing.assert_close(found[0].double(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [{"sizes": ()}, {"consistency": "both"}, {"background": "grey"}, {"keep_steps": 0}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match="MDM"):
        MDM(**settings)
