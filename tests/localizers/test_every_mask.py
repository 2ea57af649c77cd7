"""What every learned mask owes, whatever the network: CNNs and Transformers, sizes, signs, and the model left alone."""

from dataclasses import replace

import pytest
import timm
import torch

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import (
    HDM,
    IGOS,
    MDM,
    Destroy,
    ExtremalPerturbation,
    Fusion,
    Keep,
    MeaningfulPerturbation,
    NeuroMask,
    Order,
    get_localizer,
)
from tests.support.scores import Constant, Network, pairs

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
METHODS = {
    "mdm": MDM(keep=Keep(sizes=(4, 8), steps=3), destroy=Destroy(sizes=(4, 8), steps=2)),
    "hdm": HDM(keep=Keep(sizes=(4,), steps=2), order=Order(sizes=(8,), steps=2), fusion=Fusion(steps=2)),
    "neuromask": NeuroMask(steps=3),
    "meaningful": MeaningfulPerturbation(cells=8, steps=3),
    "extremal": ExtremalPerturbation(steps=3, cell=28, levels=3),
    # Networks that learned nothing have no evidence worth the usual price of area.
    "igos": IGOS(cells=8, steps=2, points=2, l1=0.01, rate=10.0),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def small(name):
    torch.manual_seed(0)
    options = {
        "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2, "embed_dim": 24, "depths": (1, 1, 1, 1)},
        "deit_tiny_patch16_224": {"img_size": 64, "depth": 2},
        "densenet121": {"block_config": (1, 1, 1, 1)},
        "convnext_atto": {"depths": (1, 1, 1, 1)},
        "mobilenetv2_050": {},
        "test_resnet": {},
    }[name]
    return timm.create_model(name, num_classes=6, **options)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2_050",
        "test_resnet",
        "densenet121",
        "convnext_atto",
        "deit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_classifiers_of_every_kind_are_explained_and_left_alone(name):
    model = small(name).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    images, index = torch.randn(2, 3, 64, 64), torch.tensor([5, 0])
    for method in METHODS.values():
        saliency = method(Classifier(model), images, index)
        assert saliency.shape == (2, 64, 64) and saliency.dtype == torch.float32 and not saliency.requires_grad
        assert saliency.isfinite().all() and saliency.min() >= 0 and saliency.max() <= 1
        assert not torch.equal(saliency[0], saliency[1])
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every_method
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 2), (33, 20)])
def test_images_of_any_size(method, size):
    class Mean:
        mean, std = PLAIN["mean"], PLAIN["std"]

        def score(self, images, index):
            return images.mean((1, 2, 3)) * (index + 1)

    images, index = pairs(2, *size)
    saliency = method(Mean(), images, index)
    assert saliency.shape == (2, *size) and saliency.isfinite().all()


@every_method
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_constant_images(method, value):
    network = Network().eval()
    network.mean, network.std = PLAIN["mean"], PLAIN["std"]
    saliency = method(network, torch.full((1, 3, 24, 24), value), torch.tensor([1]))
    assert saliency.isfinite().all() and saliency.min() >= 0 and saliency.max() <= 1


@every_method
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_score_that_is_not_finite_is_an_error(method, value):
    constant = Constant(value)
    constant.mean, constant.std = PLAIN["mean"], PLAIN["std"]
    with pytest.raises(InputError, match=f"score of Constant is {value}"):
        method(constant, torch.ones(1, 3, 12, 18), torch.tensor([0]))


@every_method
@pytest.mark.parametrize("value", [0.0, -2.0])
def test_scores_without_use_give_no_nan(method, value):
    constant = Constant(value)
    constant.mean, constant.std = PLAIN["mean"], PLAIN["std"]
    saliency = method(constant, torch.ones(1, 3, 12, 18), torch.tensor([0]))
    assert saliency.isfinite().all() and saliency.min() >= 0 and saliency.max() <= 1


@every_method
def test_the_model_is_left_as_it_was_after_an_error(method):
    class Broken(Exception):
        pass

    class Failing(Network):
        mean, std = PLAIN["mean"], PLAIN["std"]
        calls = 0

        def score(self, images, index):
            self.calls += 1
            if self.calls > 6:
                raise Broken
            return super().score(images, index)

    network = Failing().train()
    network.body[1].eval()
    network.body[0].weight.requires_grad_(False)
    with pytest.raises(Broken), torch.no_grad():
        for _ in range(7):
            method(network, *pairs(2))
    assert network.training and network.body[0].training and not network.body[1].training
    assert not network.body[0].weight.requires_grad and network.body[4].weight.requires_grad
    assert torch.is_grad_enabled() and not network.body._forward_hooks


@every_method
def test_the_same_again_gives_the_same(method):
    network = Network().eval()
    network.mean, network.std = PLAIN["mean"], PLAIN["std"]
    images, index = pairs(2)
    with torch.inference_mode():
        first = method(network, images, index)
    torch.manual_seed(99)
    assert torch.equal(first, method(network, images, index))


@every_method
def test_memory_that_is_short_everywhere_costs_nothing_but_time(method):
    images, index = pairs(5)
    network = Network().eval()
    network.mean, network.std = PLAIN["mean"], PLAIN["std"]
    expected, score, room = method(network, images, index), network.score, 2

    def short(images, index):
        if len(images) > room:
            raise torch.OutOfMemoryError("no memory")
        return score(images, index)

    network.score = short
    # Nothing is folded here, and rounding tells pixels apart that were equal.
    torch.testing.assert_close(method(network, images, index), expected, rtol=0, atol=0.05)


@every_method
@pytest.mark.parametrize("consistency", ["one-sided", "absolute"])
def test_rounding_does_not_decide(method, consistency):
    """Scores that differ in the last bits, as those of another device or batch size do."""
    generator = torch.Generator().manual_seed(1)

    class Rounded(Network):
        mean, std = PLAIN["mean"], PLAIN["std"]
        noise = 0.0

        def score(self, images, index):
            score = super().score(images, index)
            return score * (1 + self.noise * torch.randn(score.shape, generator=generator))

    if isinstance(method, MDM):
        method = replace(method, keep=replace(method.keep, consistency=consistency))
    network, (images, index) = Rounded().eval(), pairs(3, 24, 31)
    expected = method(network, images, index)
    network.noise = 3e-7
    torch.testing.assert_close(method(network, images, index), expected, rtol=0, atol=1e-3)


@every_method
def test_within_autocast_only_the_network_is_rounded(method):
    images, index = pairs(2)
    network = Network().eval()
    network.mean, network.std = PLAIN["mean"], PLAIN["std"]
    with torch.autocast("cpu", torch.bfloat16):
        saliency = method(network, images, index)
    assert saliency.dtype == torch.float32 and saliency.isfinite().all() and saliency.amax() == 1


@pytest.mark.parametrize(
    "name",
    [
        "mdm",
        "hdm",
        "rise:masks=4",
        "score-cam:layer=inner.0",
        "gradcam:layer=inner.0,batch_size=1",
        "smoothgrad:samples=2",
        "integrated-gradients:steps=2",
        "occlusion",
        "lrp:batch_size=2",
    ],
)
def test_an_image_without_a_finite_score_is_named_by_its_number_in_the_call(name):
    class Picky(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))

        def forward(self, images):
            logits = self.inner(images).mean((2, 3))
            return torch.where((images.amax((1, 2, 3)) > 5)[:, None], torch.nan, logits)

    images = torch.zeros(3, 3, 32, 32)
    images[2] = 9.0
    with pytest.raises(InputError, match="for image 2; a score that is not finite"):
        get_localizer(name)(Classifier(Picky().eval()), images, torch.zeros(3, dtype=torch.long))
