import sys

import pytest
import torch

from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.localizers import IntegratedGradients, Occlusion, SmoothGrad, get_localizer
from protomask.localizers.base import min_max
from tests.support.scores import Linear, Network, Region, pairs

attr = pytest.importorskip("captum.attr")
QUICK = [
    IntegratedGradients(steps=6, batch_size=4),
    SmoothGrad(samples=5, batch_size=2),
    Occlusion(window=90, stride=60),
]


def test_integrated_gradients_of_a_linear_score_are_its_terms():
    """s = sum w x: the attribution of a pixel is w x, whatever the way."""
    generator = torch.Generator().manual_seed(0)
    weights, images = torch.randn(2, 3, 9, 13, generator=generator), torch.randn(2, 3, 9, 13, generator=generator)
    found = IntegratedGradients(steps=5, clip=100)(Linear(weights, offset=-3), images, torch.tensor([1, 0]))
    torch.testing.assert_close(found, min_max((weights[[1, 0]] * images).abs().sum(1)), atol=1e-5, rtol=0)


def test_smoothgrad_of_a_linear_score_is_its_weight():
    weights = torch.randn(2, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    found = SmoothGrad(samples=3, clip=100)(Linear(weights), torch.randn(2, 3, 9, 13), torch.tensor([1, 0]))
    torch.testing.assert_close(found, min_max(weights[[1, 0]].abs().sum(1)), atol=1e-5, rtol=0)


def test_clipping_bounds_the_few_greatest_values():
    weights = torch.arange(200.0).view(1, 1, 10, 20).expand(1, 3, 10, 20).clone()
    found = SmoothGrad(samples=2, clip=90)(Linear(weights), torch.randn(1, 3, 10, 20), torch.tensor([0]))
    assert (found == 1).sum() == 20


def test_occlusion_by_hand():
    """Windows of 2 at strides of 1 over a 4 x 4 image, of which only the pixel (0, 0) counts."""
    images = torch.ones(1, 3, 4, 4)
    found = Occlusion(window=112, stride=56, batch_size=5)(Region(slice(0, 1), slice(0, 1)), images, torch.tensor([0]))[
        0
    ]
    # The one window that holds the pixel falls by 1; of the pixels it covers, (0, 1) is in two windows and (1, 1)
    # in four.
    expected = torch.zeros(4, 4)
    expected[0, 0], expected[0, 1], expected[1, 0], expected[1, 1] = 1, 0.5, 0.5, 0.25
    torch.testing.assert_close(found, expected)


def test_agreement_with_captum_called_directly():
    network, (images, index) = Network().eval(), pairs(1, 24, 30)
    with frozen(network):
        direct = attr.IntegratedGradients(network.score).attribute(images, additional_forward_args=index, n_steps=7)
    torch.testing.assert_close(
        IntegratedGradients(steps=7, clip=100, batch_size=3)(network, images, index),
        min_max(direct.abs().sum(1)),
        atol=1e-5,
        rtol=0,
    )
    with torch.no_grad():
        direct = attr.Occlusion(network.score).attribute(images, (3, 9, 9), (3, 5, 5), additional_forward_args=index)
    found = Occlusion(window=9 * 224 // 24, stride=5 * 224 // 24)(network, images, index)
    torch.testing.assert_close(found, min_max(direct[:, 0].relu()), atol=1e-5, rtol=0)
    torch.manual_seed(5)
    deviation = 0.15 * float(images.max() - images.min())
    with frozen(network):
        direct = attr.NoiseTunnel(attr.Saliency(network.score)).attribute(
            images.clone().requires_grad_(),
            nt_samples=6,
            nt_samples_batch_size=3,
            stdevs=deviation,
            abs=False,
            additional_forward_args=index,
        )
    found = SmoothGrad(samples=6, clip=100, seed=5, batch_size=3)(network, images, index)
    torch.testing.assert_close(found, min_max(direct.abs().sum(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("localizer", QUICK, ids=lambda localizer: type(localizer).__name__)
def test_batch_loop_state_and_generators(localizer, recwarn):
    network, (images, index) = Network().train(), pairs(3, 21, 26)
    modes = [module.training for module in network.modules()]
    before = torch.random.get_rng_state()
    with torch.inference_mode():
        whole = localizer(network, images, index)
    assert torch.equal(torch.random.get_rng_state(), before)
    single = torch.cat([localizer(network, images[place : place + 1], index[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(whole, single, atol=1e-4, rtol=0)
    assert whole.shape == (3, 21, 26) and whole.dtype == torch.float32 and not whole.requires_grad
    assert whole.amin() == 0 and torch.equal(whole.amax((1, 2)), torch.ones(3))
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert not recwarn.list


@pytest.mark.parametrize("localizer", QUICK, ids=lambda localizer: type(localizer).__name__)
def test_the_model_is_left_as_it_was_after_an_error(localizer):
    network, (images, index) = Network().train(), pairs(2)

    def fail(*_):
        raise ZeroDivisionError

    handle = network.body.register_forward_hook(fail)
    before = torch.random.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        localizer(network, images, index)
    handle.remove()
    assert (
        network.training
        and network.body[3].training
        and all(parameter.requires_grad for parameter in network.parameters())
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scores_without_gradient_and_of_the_wrong_shape_are_named():
    class Rounded:
        def score(self, images, index):
            return images.detach().mean((1, 2, 3))

    class Wide:
        def score(self, images, index):
            return images.mean((2, 3))

    with pytest.raises(InputError, match="Rounded has no gradient.*smoothgrad"):
        SmoothGrad(samples=2)(Rounded(), *pairs(1))
    assert Occlusion()(Rounded(), *pairs(1)).isfinite().all()
    with pytest.raises(InputError, match="Wide.score gave the shape"):
        Occlusion()(Wide(), *pairs(1))
    with pytest.raises(InputError, match="no images"):
        SmoothGrad()(Region(slice(0, 2), slice(0, 2)), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("name", ["integrated-gradients", "smoothgrad", "occlusion"])
def test_without_captum_the_mend_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(InputError, match=f"{name}.*pip install captum"):
        get_localizer(name)


def test_settings_out_of_range():
    with pytest.raises(InputError, match="samples is 0"):
        SmoothGrad(samples=0)
    with pytest.raises(InputError, match="stride 9 leaves gaps"):
        Occlusion(window=5, stride=9)
