"""Whole classifiers by name."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from protomask.backbones import classifier, torchvision_models
from protomask.backbones.classifier import build_classifier
from protomask.errors import InputError


def test_a_timm_model_with_arguments_and_normalisation():
    built = build_classifier("test_resnet:num_classes=7,mean=0.5,std=0.25", image_size=40)
    assert (built.classes, built.image_size, built.mean, built.std) == (7, 40, (0.5,) * 3, (0.25,) * 3)
    assert not built.model.training and built.model(torch.zeros(2, 3, 40, 56)).shape == (2, 7)
    plain = build_classifier("test_resnet")
    assert plain.image_size == 160 and plain.mean == tuple(timm.create_model("test_resnet").pretrained_cfg["mean"])


@pytest.mark.parametrize(
    "wrap",
    [lambda state: state, lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}}],
)
def test_weights_bring_their_number_of_classes(tmp_path, wrap):
    original = timm.create_model("test_resnet", num_classes=5).eval()
    torch.save(wrap(original.state_dict()), tmp_path / "weights.pth")
    built = build_classifier("test_resnet", weights=tmp_path / "weights.pth", image_size=32)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert built.classes == 5
    torch.testing.assert_close(built.model(images), original(images))


def test_torchvision_and_its_convolutional_classifier(tmp_path):
    original = torchvision.models.squeezenet1_1(num_classes=4).eval()
    save_file(original.state_dict(), tmp_path / "weights.safetensors")
    built = build_classifier("torchvision/squeezenet1_1", weights=tmp_path / "weights.safetensors", image_size=64)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(built.model(images), original(images))


def test_weights_of_googlenet_in_a_file_see_what_the_published_ones_see(tmp_path):
    # torchvision sets transform_input for weights of its own.
    original = torchvision.models.googlenet(aux_logits=False, init_weights=False, transform_input=True).eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    built = build_classifier(
        "torchvision/googlenet:aux_logits=False,init_weights=False", weights=tmp_path / "weights.pth", image_size=64
    )
    shown = []
    for model in (original, built.model):
        model.conv1.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    imagenet = torchvision.models.GoogLeNet_Weights.DEFAULT.transforms()
    original((pictures - torch.tensor(imagenet.mean)[:, None, None]) / torch.tensor(imagenet.std)[:, None, None])
    built.model((pictures - torch.tensor(built.mean)[:, None, None]) / torch.tensor(built.std)[:, None, None])
    torch.testing.assert_close(shown[1], shown[0])
    torch.testing.assert_close(shown[0], pictures * 2 - 1)


def test_torchvision_models_get_images_as_their_weights_want_them(monkeypatch):
    assert torchvision_models.preparation("resnet18") == (224, *classifier.IMAGENET)
    small = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    monkeypatch.setattr(torchvision_models, "create", lambda *_: small)  # what is built says nothing of these
    assert build_classifier("torchvision/inception_v3").image_size == 299
    assert build_classifier("torchvision/inception_v3", image_size=75).image_size == 75
    halves = ((0.5,) * 3, (0.5,) * 3)
    assert build_classifier("torchvision/efficientnet_v2_l")[2:] == (480, *halves)
    backbone = torchvision_models.TorchvisionBackbone(small, "torchvision/efficientnet_v2_l", {}, None)
    assert (backbone.mean, backbone.std) == halves
    small.image_size = 32  # of a transformer
    assert build_classifier("torchvision/vit_h_14").image_size == 32


def test_transformers_take_another_size():
    built = build_classifier("vit_tiny_patch16_224:depth=1", image_size=64)
    assert built.image_size == 64 and built.model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("resnet1O1", {}, "unknown model 'resnet1O1'.*resnet101"),
        ("torchvision/resnet1O1", {}, "unknown model 'torchvision/resnet1O1'.*torchvision/resnet101"),
        ("test_resnet:colour=red", {}, "colour.*other arguments"),
        ("test_resnet:num_classes=0,global_pool=''", {}, "gives no logits"),
        ("torchvision/squeezenet1_1", {"image_size": 4}, "4 x 4.*image_size="),
        ("test_resnet", {"weights": "/no/file.safetensors"}, "/no/file.safetensors"),
        ("test_resnet", {"weights": "x", "pretrained": True}, "exclude each other"),
        ("test_resnet:std=0", {}, "std 0.*positive"),
    ],
)
def test_bad_input_is_one_line(name, options, says):
    with pytest.raises(InputError, match=says) as error:
        build_classifier(name, **options)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_listed(tmp_path):
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="other.safetensors do not fit test_resnet.*missing.*classifier"):
        build_classifier("test_resnet", weights=tmp_path / "other.safetensors")
