"""Torch's default type is the user's affair: what is drawn and computed here has a type of its own."""

import pytest
import torch
from torchvision.models import squeezenet1_1

from protomask.backbones import build_backbone
from protomask.explainable import Classifier
from protomask.localizers import get_localizer
from protomask.metrics import road
from protopnet import ProtoPNet
from tests.support.scores import Patches
from xprotonet import XProtoNet


@pytest.fixture
def double():
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(usual)


LOCALIZERS = [
    "mdm:keep.steps=4,destroy.steps=2,order.steps=3",
    "hdm:keep.steps=3,order.steps=2,cascade.modules=1",
    "neuromask:steps=4",
    "extremal:steps=4",
    "meaningful:steps=4",
    "igos:steps=2,points=3,l1=1",
    "rise:masks=20",
    "smoothgrad:samples=3",
    "integrated-gradients:steps=4",
    "gradcam",
    "score-cam",
    "random",
    "center",
]


def _asked():
    torch.manual_seed(0)
    explained = Classifier(squeezenet1_1().eval(), mean=Patches.mean, std=Patches.std)
    return explained, torch.randn(1, 3, 64, 64), torch.tensor([1])


@pytest.mark.parametrize("name", LOCALIZERS)
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image")
def test_a_map_is_the_same_under_another_default_type(name, double):
    torch.set_default_dtype(torch.float32)
    explained, images, index = _asked()
    single = get_localizer(name)(explained, images, index)
    torch.set_default_dtype(torch.float64)
    found = get_localizer(name)(explained, images, index)
    assert torch.get_default_dtype() == torch.float64
    assert found.dtype == single.dtype == torch.float32 and found.equal(single)


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
def test_networks_are_of_float32_under_another_default_type(kind, double):
    network = kind(build_backbone("test_resnet"), ["a", "b"], image_size=48, prototypes_per_class=1, channels=8)
    assert {each.dtype for each in network.parameters()} == {torch.float32}
    assert network.eval()(torch.zeros(1, 3, 48, 48, dtype=torch.float32)).logits.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float64


def test_a_metric_with_noise_is_the_same_under_another_default_type(double):
    explained, images, index = _asked()
    saliency = torch.rand(1, 64, 64, dtype=torch.float32)
    images = images.float()
    explained.model.float()
    found = road(explained.score, images, index, saliency)
    torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and found.equal(road(explained.score, images, index, saliency))
