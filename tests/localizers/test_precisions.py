"""Every localizer on models of half, bfloat16 and float64 weights: the map of the float32 model, but for rounding."""

import copy
import warnings

import pytest
import timm
import torch
from torch import nn

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import get_localizer, localizer_names
from protopnet.model import ProtoPNet
from tests.support.scores import Constant, Network, pairs
from tests.support.toy import ToyBackbone

FEW = {
    "mdm": "keep.steps=4",
    "hdm": "keep.steps=4,order.steps=4,benchmarks=1",
    "neuromask": "steps=4",
    "mdm-published": "keep.steps=8",
    "hdm-published": "keep.steps=4,auxiliary.steps=4",
    "meaningful": "steps=4",
    "extremal": "steps=4",
    # Networks that learned nothing have no evidence worth the usual price of area.
    "igos": "steps=2,points=2,l1=0.01,rate=10",
    "rise": "masks=20",
    "smoothgrad": "samples=2",
    "integrated-gradients": "steps=2",
}
LEARNED = ["mdm", "hdm", "neuromask", "mdm-published", "hdm-published", "meaningful", "extremal", "igos"]
DTYPES = [torch.float16, torch.bfloat16, torch.float64]


class Corner(nn.Module):
    """Class 0 is a bright corner."""

    def __init__(self):
        super().__init__()
        self.see, self.read = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4 * 64, 3)
        with torch.no_grad():
            self.see.weight.fill_(0.1)
            self.read.weight.zero_()
            self.read.weight.view(3, 4, 8, 8)[0, :, 1:4, 1:4] = 0.1

    def forward(self, images):
        return self.read(self.see(images).relu().flatten(1))


def corner():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3
    images[:, :, 2:8, 2:8] += 1.5
    return Corner().eval(), images, torch.tensor([0, 0])


def transformer():
    model = timm.models.VisionTransformer(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=5)
    for parameter in model.parameters():
        if parameter.ndim == 2:  # as they start, all tokens are attended to alike
            parameter.data *= 8
    return model.eval(), pairs(2, 16, 16)[0], torch.tensor([4, 0])


def prototypes():
    network = ProtoPNet(ToyBackbone(), ["a", "b"], image_size=16, prototypes_per_class=2, channels=8)
    return network.eval(), pairs(2, 16, 16)[0], torch.tensor([0, 3])


def alike(name, network, images, index, dtype):
    """Correlation of the maps of a network in ``dtype`` and of the same in float32, on images that both can have."""
    localizer = get_localizer(f"{name}:{FEW[name]}" if name in FEW else name)
    images, own = images.to(torch.promote_types(dtype, torch.float32)), copy.deepcopy(network).to(dtype)
    images = images.to(dtype)
    explained = [
        each if isinstance(each, ProtoPNet) else Classifier(each, "logit", mean=(0.5,) * 3, std=(0.5,) * 3)
        for each in (network, own)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scores without evidence
        expected = localizer(explained[0], images.float(), index)
        found = localizer(explained[1], images, index)
    assert found.dtype == torch.float32 and found.shape == expected.shape and found.isfinite().all()
    assert found.min() >= 0 and found.max() <= 1
    if name == "extremal" and dtype == torch.float64:
        # Its cells are all one at first, and float32's rounding alone orders them: these are other maps.
        return found.amax((1, 2)).min()
    return torch.stack([torch.corrcoef(torch.stack(pair).flatten(1))[0, 1] for pair in zip(found, expected)]).min()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [name for name in localizer_names() if name != "distilled"])
def test_the_map_is_that_of_the_float32_model(name, dtype):
    torch.manual_seed(0)
    make = {"similarity": prototypes, "receptive-field": prototypes, "attention-rollout": transformer}
    assert alike(name, *{**make, "chefer": transformer}.get(name, corner)(), dtype) > 0.95


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [*LEARNED, "smoothgrad", "integrated-gradients", "occlusion"])
def test_prototypes_which_take_images_of_their_own_type_alone(name, dtype):
    torch.manual_seed(0)
    assert alike(name, *prototypes(), dtype) > 0.95


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_score_of_ones_own_gets_the_images_type(dtype):
    seen = set()

    class Own(Network):
        def score(self, images, index):
            seen.add(images.dtype)
            return super().score(images, index)

    images, index = pairs(2)
    saliency = get_localizer("mdm:keep.steps=2")(Own().eval().to(dtype), images.to(dtype), index)
    assert seen == {dtype} and saliency.amax((1, 2)).tolist() == [1, 1]


def test_a_half_score_that_is_not_finite_is_named_by_its_own_class():
    with pytest.raises(InputError, match="score of Constant is nan for image 0"):
        get_localizer("mdm")(Constant(float("nan")), torch.ones(1, 3, 12, 18).half(), [0])
