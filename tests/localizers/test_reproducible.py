"""Every map that is learned is the same, to the last bit, alone, in any batch, and on any number of threads."""

import pytest
import torch
from torchvision.models import squeezenet1_1

from protomask.explainable import Classifier
from protomask.localizers import get_localizer
from protomask.localizers.amortised.explainer import Explainer
from protomask.localizers.amortised.files import Opened
from protomask.localizers.amortised.taps import find_taps, look_at
from protomask.localizers.distilled import Distilled
from tests.support.scores import Patches

MDM = "mdm:keep.steps=4,destroy.steps=2,order.steps=3"
HDM = "hdm:keep.steps=3,order.steps=2,cascade.modules=1"
NEUROMASK, EXTREMAL = "neuromask:steps=10", "extremal:steps=10"
MEANINGFUL, IGOS = "meaningful:steps=10", "igos:steps=2,points=3,l1=1"


def asked(size, kind):
    """A network of random weights in float32, three images of noise, and what is asked of them."""
    torch.manual_seed(0)
    network, images = squeezenet1_1().eval(), torch.randn(3, 3, size, size)
    if kind == "class":
        explained = Classifier(network, mean=Patches.mean, std=Patches.std)
    else:
        explained = Patches(network.features, images, at=1)
    return explained, images, torch.tensor([1, 2, 0])


def refined(explained, images, index):
    """Two steps that go on from what an explainer of random weights draws."""
    taps = find_taps(explained, images, index)
    seen = look_at(explained, taps, images, index)
    explainer = Explainer([each.shape[1] for each in seen.features], seen.condition.shape[1])
    opened = Opened(explainer.eval().requires_grad_(False), tuple(taps), 1.0, None)
    return Distilled(explainer=opened, steps=2, check=False)


@pytest.mark.parametrize(
    ("kind", "size", "localizer"),
    [
        *[("class", 64, each) for each in (MDM, HDM, NEUROMASK, EXTREMAL, "distilled")],
        *[("prototype", 128, each) for each in (MDM, HDM, NEUROMASK, MEANINGFUL, IGOS)],
        *[("prototype", 64, each) for each in (HDM, NEUROMASK)],
    ],
)
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image")
def test_a_map_is_the_same_alone_in_any_batch_and_on_two_threads(kind, size, localizer):
    explained, images, index = asked(size, kind)
    explain = refined(explained, images, index) if localizer == "distilled" else get_localizer(localizer)
    whole = explain(explained, images, index)
    assert whole.flatten(1).std(1).min() > 0
    alone = [explain(explained, images[place, None], index[place, None]) for place in range(len(images))]
    assert torch.equal(whole, torch.cat(alone))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(whole, explain(explained, images.flip(0), index.flip(0)).flip(0))
    finally:
        torch.set_num_threads(threads)
