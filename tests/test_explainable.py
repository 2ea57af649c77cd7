import functools
import warnings

import pytest
import torch
from torch import nn

from protomask.errors import InputError, NotLogitsWarning
from protomask.explainable import Classifier, Explainable
from protomask.freezing import DEEPEST, frozen, held_modules
from protomask.given import refuse_run


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 4))


@pytest.mark.parametrize("kind", ["log-probability", "probability", "logit"])
def test_classifier_scores_are_the_named_function_of_the_logits(kind):
    net = model().eval()
    images, index = torch.rand(5, 3, 2, 2), torch.tensor([3, 0, 1, 1, 2])
    logits = net(images)
    expected = {"log-probability": logits.log_softmax(1), "probability": logits.softmax(1), "logit": logits}[kind]
    scores = Classifier(net, kind).score(images, index)
    torch.testing.assert_close(scores, torch.stack([expected[place, label] for place, label in enumerate(index)]))
    assert isinstance(Classifier(net), Explainable)


def test_classifier_says_what_is_wrong():
    with pytest.raises(InputError, match="log-probability"):
        Classifier(model(), "softmax")
    with pytest.raises(InputError, match="logits"):
        Classifier(nn.Conv2d(3, 4, 1)).score(torch.rand(1, 3, 2, 2), torch.tensor([0]))


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_restores_everything(fails):
    net = model().train()
    net[2].eval()
    net[1].weight.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    needs = [parameter.requires_grad for parameter in net.parameters()]
    explained = Classifier(net)
    try:
        with frozen(explained):
            assert not any(module.training for module in net.modules())
            assert not any(parameter.requires_grad for parameter in net.parameters())
            net[0].train()
            net[2].train()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == needs


@pytest.mark.parametrize("kind", ["log-probability", "probability", "logit"])
def test_labels_of_their_own_go_through_sigmoids(kind):
    net = model().eval()
    images, index = torch.rand(5, 3, 2, 2), torch.tensor([3, 0, 1, 1, 2])
    logits = net(images)
    expected = {"log-probability": logits.sigmoid().log(), "probability": logits.sigmoid(), "logit": logits}[kind]
    classifier = Classifier(net, kind, multi_label=True)
    torch.testing.assert_close(classifier.score(images, index), expected[torch.arange(5), index])
    assert "multi_label" in repr(classifier) and "multi_label" not in repr(Classifier(net))


def test_double_scores_stay_double():
    assert (
        Classifier(model().double().eval()).score(torch.rand(2, 3, 2, 2).double(), torch.tensor([0, 1])).dtype
        == torch.float64
    )


def test_the_normalisation_is_timms_unless_given():
    import timm

    net = timm.create_model("test_vit", num_classes=3)
    assert Classifier(net).mean == (0.5, 0.5, 0.5)
    assert Classifier(timm.create_model("resnet18", num_classes=3)).std == (0.229, 0.224, 0.225)
    given = Classifier(net, mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert given.mean == (0.1, 0.2, 0.3) and given.std == (1.0, 2.0, 3.0)
    assert Classifier(model()).mean is None and Classifier(model()).std is None


@pytest.mark.parametrize(
    "given",
    [
        {"mean": (0, 0, 0)},
        {"mean": (0, 0), "std": (1, 1, 1)},
        {"mean": (0, 0, 0), "std": (1, 0, 1)},
        {"mean": (0, 0, float("nan")), "std": (1, 1, 1)},
    ],
)
def test_half_a_normalisation_is_refused(given):
    with pytest.raises(InputError, match="mean|std is"):
        Classifier(model(), **given)


def test_modules_are_found_through_wrappers():
    net = model()

    class Wrapper:
        def __init__(self, inner):
            self.inner = inner
            self.itself = self

        def score(self, images, index):
            return self.inner.score(images, index)

    net.train()
    with frozen(Wrapper(Wrapper(Classifier(net)))):
        assert not net.training
    assert net.training


class Ensemble:
    """The mean score of what it holds in whatever way."""

    def __init__(self, held):
        self.held = held

    def predict(self, images):
        return images

    def score(self, images, index):
        return images.mean((1, 2, 3))


HOLDERS = {
    "list": lambda nets: nets,
    "dict of tuples": lambda nets: {"folds": (nets[0], (nets[1],))},
    "set": lambda nets: {nets[0], nets[1]},
    "classifiers": lambda nets: [Classifier(net) for net in nets],
    "partial": lambda nets: functools.partial(nets[0], other=nets[1]),
    "bound methods": lambda nets: [nets[0].forward, nets[1].forward],
    "method of another object": lambda nets: Ensemble(nets).predict,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_models_in_containers_are_frozen(hold):
    nets = [model().train(), model().train()]
    explained = Ensemble(hold(nets))
    with frozen(explained):
        assert not any(module.training for net in nets for module in net.modules())
        assert not any(parameter.requires_grad for net in nets for parameter in net.parameters())
    assert all(module.training for net in nets for module in net.modules())
    assert {id(root) for root in held_modules(explained)} == {id(net) for net in nets}


def test_what_is_held_directly_comes_first_and_layers_are_no_roots():
    nets = [model(), model(), model()]
    explained = Ensemble([nets[1], nets[0][1], nets[2]])
    explained.first = nets[0]
    assert [nets.index(root) for root in held_modules(explained)] == [0, 1, 2]


def test_a_module_holds_what_it_keeps_in_a_plain_list():
    outer, hidden = model(), model().train()
    outer.teachers = [hidden]
    with frozen(Classifier(outer)):
        assert not hidden.training
    assert hidden.training and held_modules(outer) == [outer, hidden]


def test_containers_that_hold_themselves_data_or_too_deep_a_nest_end_the_search():
    circle = [model()]
    circle.append(circle)
    assert held_modules(Ensemble(circle)) == circle[:1]
    assert held_modules(Ensemble([0.5] * 10**6)) == []
    nested = model()
    for _ in range(DEEPEST):
        nested = [nested]
    assert len(held_modules(Ensemble(nested))) == 1 and held_modules(Ensemble([nested])) == []


def test_one_output_has_a_probability_only_as_a_yes_or_no_answer():
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), torch.rand(2, 3, 2, 2)
    for kind in ("log-probability", "probability", "logit"):
        with pytest.raises(InputError, match="one logit per image, whose softmax is always 1.*multi_label=True"):
            Classifier(net, kind).probabilities(images)
    assert 0 < Classifier(net, multi_label=True).probabilities(images).max() < 1
    assert Classifier(net, "logit").score(images, torch.tensor([0, 0])).shape == (2,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_in_place_of_logits_are_said_once(dtype):
    twice = Classifier(nn.Sequential(model(), nn.Softmax(1)).eval().to(dtype))
    images = torch.rand(5, 3, 2, 2)
    with pytest.warns(
        NotLogitsWarning, match="Sequential seems to give probabilities, not logits.*without its softmax"
    ):
        twice.first_probabilities(images)
    zero = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    nn.init.zeros_(zero[1].weight), nn.init.zeros_(zero[1].bias)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twice.first_probabilities(images)
        Classifier(nn.Sequential(model(), nn.Softmax(1)).eval(), multi_label=True).first_probabilities(images)
        for logits in (model().eval(), zero, nn.Sequential(model(), nn.LogSoftmax(1)).eval()):
            Classifier(logits).first_probabilities(images)


def test_a_model_that_holds_a_network_and_a_folder_is_no_run():
    class Trainer(nn.Module):
        folder = "runs/mine"

        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

        def forward(self, images):
            return self.network(images)

    refuse_run(Trainer(), "model")
