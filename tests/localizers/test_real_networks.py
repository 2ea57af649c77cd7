"""Maps of real networks in float32: what rounding, the batch and noise that nobody sees may change."""

import pytest
import torch

from protomask.backbones import build_backbone
from protomask.backbones.classifier import build_classifier
from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.explainable import Classifier
from protomask.localizers import get_localizer
from protomask.metrics import map_correlation, nearby, shared_first
from tests.support.scores import Patches

NETWORKS = {
    "squeezenet": ("torchvision/squeezenet1_1", "squeezenet1_1"),
    "mobilenet": (
        "mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
        "mobilenetv2_100_samepad_imagenet_from_int8",
    ),
    "transformer": ("deit_tiny_patch16_224", "deit_tiny_patch16_224_refit"),
}
slow = pytest.mark.slow


def photographs(real_data, name, count, size=None):
    """A classifier, ``count`` training photographs of birds and the classes it finds; ``size`` pixels, or its own."""
    model, weights = NETWORKS[name]
    built = build_classifier(model, weights=real_data / "weights" / f"{weights}.safetensors")
    size = size or built.image_size
    data = load_data("cub", real_data / "cub20", crop=False, validation=0, image_size=size).train
    data = data.with_transform(evaluation_transform(size, built.mean, built.std))
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(0, 150 * count, 150)])
    with torch.no_grad():
        return Classifier(built.model.eval()), images, built.model(images).argmax(1)


# Every step is the same code at every size: the fast cases take smaller photographs, the slow ones the networks' own.
@pytest.mark.parametrize(
    ("name", "localizer", "size"),
    [
        ("squeezenet", "mdm", 96),
        pytest.param("squeezenet", "mdm", None, marks=slow),
        pytest.param("mobilenet", "mdm", None, marks=slow),
        pytest.param("transformer", "mdm", None, marks=slow),
        pytest.param("squeezenet", "hdm", None, marks=slow),
    ],
)
def test_a_class_has_the_same_map_alone_and_in_any_batch_to_the_last_bit(real_data, name, localizer, size):
    explained, images, index = photographs(real_data, name, 2 if name == "squeezenet" else 4, size)
    explain = get_localizer(localizer)
    whole = explain(explained, images, index)
    each = torch.cat([explain(explained, images[place, None], index[place, None]) for place in range(len(images))])
    assert torch.equal(whole, each)
    assert torch.equal(whole, explain(explained, images.flip(0), index.flip(0)).flip(0))


@slow
def test_a_batch_as_large_as_asked_for_gives_nearly_what_each_image_alone_gives(real_data):
    explained, images, index = photographs(real_data, "mobilenet", 4)
    whole, each = (get_localizer(name)(explained, images, index) for name in ("mdm:batch_size=4", "mdm"))
    assert map_correlation(whole, each).mean() >= 0.99
    assert shared_first(whole, each).mean() >= 0.95
    areas = [(maps > 0.01).float().mean((1, 2)) for maps in (whole, each)]
    torch.testing.assert_close(*areas, atol=0.01, rtol=0)


def on_one_and_two_threads(explain, *asked):
    one = explain(*asked)
    torch.set_num_threads(2)
    try:
        return one, explain(*asked)
    finally:
        torch.set_num_threads(1)


@slow
def test_threads_do_not_change_a_patch_s_map_by_a_bit(real_data):
    model, weights = NETWORKS["mobilenet"]
    backbone = build_backbone(model, weights=real_data / "weights" / f"{weights}.safetensors").eval()
    _, images, _ = photographs(real_data, "mobilenet", 3)
    explained, index = Patches(backbone, images, at=3), torch.tensor([1, 2, 0])
    one, two = on_one_and_two_threads(get_localizer("mdm"), explained, images, index)
    assert torch.equal(one, two) and one.flatten(1).std(1).min() > 0


@pytest.mark.parametrize(
    ("name", "localizer", "size"),
    [
        ("squeezenet", "mdm", 96),
        pytest.param("squeezenet", "mdm", None, marks=slow),
        *[
            pytest.param(*each, None, marks=slow)
            for each in (("mobilenet", "mdm"), ("transformer", "mdm"), ("squeezenet", "hdm"), ("mobilenet", "hdm"))
        ],
    ],
)
def test_threads_do_not_change_a_map_by_a_bit(real_data, name, localizer, size):
    explained, images, index = photographs(real_data, name, 2, size)
    one, two = on_one_and_two_threads(get_localizer(localizer), explained, images, index)
    assert torch.equal(one, two)


@slow
@pytest.mark.parametrize("localizer", ["mdm", "hdm"])
def test_noise_that_nobody_sees_moves_maps_little(real_data, localizer):
    explained, images, index = photographs(real_data, "mobilenet", 4)
    alike = nearby(images, range(4), 0.5 / 255 / 0.5)
    one, other = (get_localizer(localizer)(explained, each, index) for each in (images, alike))
    assert map_correlation(one, other).mean() >= 0.9 and shared_first(one, other).mean() >= 0.75
