"""The private copy gives the same scores, and the model is not touched."""

import copy

import pytest
import torch
from torch import nn

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.freezing import held_modules
from protomask.localizers.engine.speed.folding import Autocast, accelerate
from tests.support.scores import Network, pairs


def lively(model, seed=0):
    """Batch norms with statistics of their own: fresh ones would fold to nothing."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values.copy_(torch.rand(values.shape, generator=generator) * 0.5 + 0.5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()


def norms(explained):
    return sum(isinstance(module, nn.BatchNorm2d) for root in held_modules(explained) for module in root.modules())


@pytest.mark.parametrize("name, remain", [("resnet18", 0), ("mobilenetv2_050", 0), ("test_resnet", 0)])
def test_networks_of_timm_fold_completely(name, remain):
    import timm

    torch.manual_seed(0)
    model = lively(timm.create_model(name, num_classes=5))
    before = copy.deepcopy(model.state_dict())
    images, index = torch.randn(3, 3, 48, 48), torch.tensor([0, 3, 1])
    classifier = Classifier(model, "logit")
    quick = accelerate(classifier, images, index)
    assert quick is not classifier and norms(quick) == remain and norms(classifier) > 3
    images = torch.randn(3, 3, 48, 48, requires_grad=True)
    expected, found = classifier.score(images, index), quick.score(images, index)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        *(torch.autograd.grad(score.sum(), images)[0] for score in (found, expected)), rtol=1e-2, atol=1e-4
    )
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


class SharedOutput(nn.Module):
    """The convolution's output goes into the norm and round it: folding would change the score."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        features = self.convolution(images)
        return (self.norm(features) + features).mean((2, 3))


class InPlace(SharedOutput):
    """Between convolution and norm the features are changed in place."""

    def forward(self, images):
        return self.norm(self.convolution(images).relu_()).mean((2, 3))


class Twice(SharedOutput):
    """One norm after two convolutions."""

    def forward(self, images):
        return (self.norm(self.convolution(images)) + self.norm(self.convolution(images * 2))).mean((2, 3))


@pytest.mark.parametrize("kind", [SharedOutput, InPlace, Twice])
def test_what_cannot_be_folded_is_used_as_it_is(kind):
    torch.manual_seed(0)
    classifier = Classifier(lively(kind()), "logit")
    assert accelerate(classifier, *pairs(2)) is classifier


class PreActivated(nn.Module):
    """The stem goes round the first norm, as in pre-activation networks; the second norm has its convolution alone."""

    def __init__(self, bias):
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(each, 8, 3, padding=1) for each in (3, 8, 8))
        self.norm, self.inner, self.head = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.Linear(8, 4)
        with torch.no_grad():
            self.head.bias.add_(torch.tensor([0.0, 0.0, 0.0, bias]))

    def forward(self, images):
        features = self.stem(images)
        inside = self.second(self.inner(self.first(self.norm(features).relu())).relu())
        return self.head((features + inside).mean((2, 3)))


@pytest.mark.parametrize("kind", ["probability", "log-probability"])
@pytest.mark.parametrize("bias", [-40, 0, 200])
def test_a_convolution_whose_output_others_use_keeps_its_norm_however_small_or_saturated_the_score(kind, bias):
    torch.manual_seed(0)
    classifier = Classifier(lively(PreActivated(bias)), kind)
    images, index = torch.randn(2, 3, 24, 24), torch.tensor([3, 3])
    quick = accelerate(classifier, images, index)
    assert quick is not classifier and norms(quick) == 1 and isinstance(quick.model.norm, nn.BatchNorm2d)
    torch.testing.assert_close(quick.logits(images), classifier.logits(images), rtol=1e-4, atol=1e-4)


class Disguised(SharedOutput):
    """Folding changes it by a way that no single operation shows: it asks who its norm is."""

    def forward(self, images):
        features = self.norm(self.convolution(images)).mean((2, 3))
        return features + (3 * features.sin() if isinstance(self.norm, nn.BatchNorm2d) else 0) - 50 * self.apart

    apart = torch.tensor([0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("index", [0, 3])
def test_logits_tell_what_saturated_scores_do_not(index):
    torch.manual_seed(0)
    classifier = Classifier(lively(Disguised()), "probability")
    assert accelerate(classifier, torch.randn(1, 3, 24, 24), torch.tensor([index])) is classifier


def test_hooks_and_objects_that_cannot_be_copied_keep_the_model():
    network = lively(Network())
    images, index = pairs(2)
    assert accelerate(network, images, index) is not network
    handle = network.body.register_forward_hook(lambda *_: None)
    assert accelerate(network, images, index) is network
    handle.remove()

    class Stubborn(Classifier):
        def __deepcopy__(self, memo):
            raise TypeError("not this one")

    stubborn = Stubborn(network)
    assert accelerate(stubborn, images, index) is stubborn


class Embedding(nn.Module):
    """Gives no logits; its classifier scores in its own way."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        return {"embedding": self.norm(self.convolution(images)).mean((2, 3))}


def test_scores_without_logits_are_told_apart_by_themselves():
    class Likeness(Classifier):
        def score(self, images, index):
            embedding = self.model(images)["embedding"]
            return nn.functional.cosine_similarity(embedding, torch.ones_like(embedding))

    own = Likeness(lively(Embedding()))
    images, index = torch.randn(2, 3, 24, 24), torch.tensor([0, 0])
    quick = accelerate(own, images, index)
    assert norms(quick) == 0
    torch.testing.assert_close(quick.score(images, index), own.score(images, index), rtol=1e-4, atol=1e-5)


def test_training_mode_and_requirements_survive():
    network = lively(Network()).train()
    network.body[0].weight.requires_grad_(False)
    with torch.inference_mode():
        quick = accelerate(network, *pairs(2))
    assert quick is not network and network.training and network.body[1].training
    assert not network.body[0].weight.requires_grad and network.body[4].weight.requires_grad


def test_bfloat16_scores_come_back_as_float32():
    network = lively(Network())
    images, index = pairs(2)
    quick = accelerate(network, images, index, "bf16")
    assert isinstance(quick, Autocast)
    scores = quick.score(images, index)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, network.score(images, index), rtol=0.05, atol=0.05)
    assert held_modules(quick)[0].training is False
    with pytest.raises(InputError, match="'fp8'.*fp32, bf16"):
        accelerate(network, images, index, "fp8")
