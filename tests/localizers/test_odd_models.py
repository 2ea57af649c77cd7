"""Models that write into images or buffers, cut the gradient or take one image: explained and left alone, or named."""

import warnings

import pytest
import torch
from torch import nn

from protomask.errors import BatchStatisticsWarning, InputError
from protomask.explainable import Classifier
from protomask.localizers import get_localizer

BY_GRADIENT = ["mdm-published", "meaningful:steps=3", "igos:steps=3", "gradcam", "lrp", "smoothgrad:samples=2"]
BY_SCORES = ["score-cam", "rise:masks=8", "occlusion"]


def _asked(kind):
    torch.manual_seed(0)
    return kind(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

    def forward(self, images):
        return self.body((images - 0.1) / 0.5)


class InPlace(Plain):
    def forward(self, images):
        images.sub_(0.1).div_(0.5)
        return self.body(images)


class Counts(Plain):
    """A count of passes in its buffer, and a running mean that is made anew in each."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3, 1, 1))

    def forward(self, images):
        self.passes += 1
        self.mean = 0.9 * self.mean + 0.1 * images.detach().mean((0, 2, 3))[:, None, None]
        return super().forward(images)


class Numpy(Plain):
    def forward(self, images):
        return torch.from_numpy(super().forward(images).numpy())


class Silent(Plain):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


@pytest.mark.parametrize("name", BY_GRADIENT + BY_SCORES)
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image")
def test_a_model_that_writes_into_its_images_has_the_map_of_one_that_does_not(name):
    model, images, index = _asked(InPlace)
    before = images.clone()
    found = get_localizer(name)(Classifier(model), images, index)
    assert images.equal(before)
    plain = get_localizer(name)(Classifier(_asked(Plain)[0]), images, index)
    if name == "lrp":  # what normalises before the first layer is no layer, and shares relevance in its own way
        assert found.shape == plain.shape
    else:
        assert torch.allclose(found, plain, atol=1e-4)


@pytest.mark.parametrize("name", BY_GRADIENT[:-2] + BY_SCORES)
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image")
def test_buffers_are_as_before(name):
    model, images, index = _asked(Counts)
    with torch.no_grad():
        model(images)
    kept = {key: (each, each.clone()) for key, each in model.named_buffers()}
    get_localizer(name)(Classifier(model), images, index)
    for key, each in model.named_buffers():
        assert each is kept[key][0] and each.equal(kept[key][1])


@pytest.mark.parametrize("kind, words", [(Numpy, "numpy arrays"), (Silent, "no gradient")])
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_a_cut_gradient_is_named(kind, words, name):
    model, images, index = _asked(kind)
    with pytest.raises(InputError, match=words):
        get_localizer(name)(Classifier(model), images, index)
    with torch.no_grad():
        assert get_localizer("occlusion")(Classifier(model), images, index).shape == (2, 32, 32)


def test_scores_that_depend_on_the_batch_are_warned_of():
    with pytest.warns(BatchStatisticsWarning, match="Sequential normalises by the statistics of the batch"):
        Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.InstanceNorm2d(3)))


def test_buffers_that_cannot_be_compared_are_left_alone():
    model, images, index = _asked(Counts)
    model.register_buffer("nowhere", torch.empty(2, device="meta"))
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.register_buffer("nothing", None)
    with torch.inference_mode():
        model.register_buffer("made", torch.zeros(2))
    assert get_localizer("occlusion")(Classifier(model), images, index).shape == (2, 32, 32)
    assert model.passes == 0 and model.nowhere.is_meta and model.sparse.is_sparse


class OneImage(Plain):
    def forward(self, images):
        return super().forward(images).view(1, 5)


def _frozen(model, image):
    return torch.jit.freeze(torch.jit.script(model.body.eval()))


def _traced(model, image):
    return torch.jit.trace(model, image)


def _exported(model, image):
    return torch.export.export(model, (image,)).module()


@pytest.mark.parametrize("name", ["mdm-published", "rise:masks=8", "occlusion", "smoothgrad:samples=2"])
@pytest.mark.parametrize("make", [None, _frozen, _traced, _exported])
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_of_a_fixed_batch_get_one_image_at_a_time(make, name):
    model, images, index = _asked(OneImage)
    given = model if make is None else make(model.eval(), images[:1])
    plain = model.body if make is _frozen else _asked(Plain)[0]
    found = get_localizer(name)(Classifier(given), images, index)
    # Of a random network, the last digits of few falls are stretched to [0, 1].
    assert (found - get_localizer(name)(Classifier(plain), images, index)).abs().max() < 0.01


def test_layers_of_a_model_of_one_image_are_not_read_from_the_last_image_alone():
    model, images, index = _asked(OneImage)
    with pytest.raises(InputError, match="OneImage takes one image at a time; give batch_size=1"):
        get_localizer("gradcam")(Classifier(model), images, index)
    alone = get_localizer("gradcam:batch_size=1")(Classifier(model), images, index)
    assert torch.allclose(alone, get_localizer("gradcam")(Classifier(_asked(Plain)[0]), images, index), atol=1e-5)


def test_a_model_that_fails_on_any_image_fails_as_it_does():
    class Fails(Plain):
        def forward(self, images):
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        Classifier(Fails()).score(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_layer_cuts_the_gradient():
    model, images, index = _asked(Plain)
    cut = torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear}, dtype=torch.qint8)
    for name in ("mdm-published", "smoothgrad:samples=2"):
        with pytest.raises(InputError, match="no gradient"):
            get_localizer(name)(Classifier(cut), images, index)
    assert get_localizer("occlusion")(Classifier(cut), images, index).max() > 0
