import pytest
import torch
from torch import nn

from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable, frozen


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
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == needs
