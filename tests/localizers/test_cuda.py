"""On CUDA the same code gives the same maps; skipped where there is none."""

import pytest
import torch

from protomask.explainable import Classifier
from protomask.localizers import MDM, ExtremalPerturbation, Runtime, get_localizer
from protomask.localizers.engine.masks import background
from protomask.localizers.engine.speed.folding import accelerate
from tests.localizers.test_every_mask import METHODS
from tests.support.scores import Network, pairs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
LEARNED = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def explained(device: str) -> Classifier:
    return Classifier(Network().to(device), "logit", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@LEARNED
def test_maps_are_those_of_the_processor(method):
    if isinstance(method, ExtremalPerturbation):
        pytest.skip("rounding decides which of its equal cells comes first")
    images, index = pairs(3, 24, 31)
    expected = method(explained("cpu"), images, index)
    found = method(explained("cuda"), images.cuda(), index.cuda())
    assert found.is_cuda and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0.02)


@LEARNED
def test_a_batch_gives_what_a_loop_over_its_images_gives(method):
    images, index = (tensor.cuda() for tensor in pairs(5))
    whole = method(explained("cuda"), images, index)
    single = torch.cat([method(explained("cuda"), images[place, None], index[place, None]) for place in range(5)])
    torch.testing.assert_close(single, whole, rtol=0, atol=1e-3)


@LEARNED
def test_the_same_call_gives_the_same_bits(method):
    images, index = (tensor.cuda() for tensor in pairs(5))
    one, two = (method(explained("cuda"), images, index) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["similarity", "score-cam", "rise", "random", "center", "mdm", "hdm"])
def test_localizers_of_prototypes(name):
    images, index = pairs(2)
    found = [
        get_localizer(name)(Network().to(device).eval(), images.to(device), index.to(device)).cpu()
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*found, rtol=0, atol=0.02)


def test_noise_is_that_of_the_processor():
    images, index = pairs(3)
    torch.testing.assert_close(
        background(images.cuda(), index.cuda(), "noise").cpu(), background(images, index, "noise")
    )


def test_the_batch_is_halved_when_the_device_is_full():
    images, index = (tensor.cuda() for tensor in pairs(16, 64, 64))
    expected = MDM(runtime=Runtime(batch_size=1))(explained("cuda"), images, index)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    used = torch.cuda.memory_allocated()
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(min((max(used, held) + (24 << 20)) / total, 1.0))
    seen = []
    network = explained("cuda")
    score = network.score

    def watched(images, index):
        seen.append(len(images))
        return score(images, index)

    network.score = watched
    try:
        found = MDM(runtime=Runtime(batch_size=16))(network, images, index)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert max(seen) == 16 > min(seen)


def test_precisions_and_folding():
    import timm

    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_050", num_classes=5).cuda().eval()
    images, index = torch.randn(4, 3, 64, 64, device="cuda"), torch.tensor([0, 1, 2, 3], device="cuda")
    for precision in ("fp32", "bf16"):
        quick = accelerate(Classifier(model, "logit"), images, index, precision)
        score = quick.score(images, index)
        assert score.dtype == torch.float32
        torch.testing.assert_close(score, Classifier(model, "logit").score(images, index), rtol=0.05, atol=0.05)
