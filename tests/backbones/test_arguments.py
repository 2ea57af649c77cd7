"""Arguments of a backbone shape a network; none makes the library open a file, fetch or run anything."""

import json

import pytest
import torch

from protomask.backbones import backbone_from, build_backbone
from protomask.backbones.classifier import build_classifier
from protomask.errors import InputError
from protomask.networks import load_network
from protomask.options import Options
from protomask.run.trial import try_channels
from protomask.run_folder import read_options
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone

FILES = ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained", "weights"]
OTHERS = [
    "scriptable",
    "exportable",
    "no_jit",
    "pretrained_strict",
    "pretrained_custom_load",
    "progress",
]


class Marker:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A pickle beside which a file appears once it is unpickled."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Marker(tmp_path / "ran")}, tmp_path / "evil.pth")
    yield "evil.pth"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("model", ["test_resnet", "torchvision/resnet18"])
def test_no_file_is_named_by_an_argument(trap, tmp_path, name, model):
    with pytest.raises(InputError, match=f"argument {name} names files"):
        build_backbone(model, arguments={name: trap})
    with pytest.raises(InputError, match=f"argument {name} names files"):
        build_backbone(f"{model}:{name}={trap}")
    with pytest.raises(InputError, match=f"argument {name} names files"):
        build_classifier(f"{model}:{name}={trap}")
    (tmp_path / "options.json").write_text(json.dumps({"backbone": f"{model}:{name}={trap}", "image_size": 64}))
    with pytest.raises(InputError, match=f"argument {name} names files"):
        backbone_from(read_options(tmp_path / "options.json"))


@pytest.mark.parametrize("name", FILES)
def test_nor_by_a_run_that_somebody_else_wrote(trap, tmp_path, name):
    backbone = {**build_backbone("test_resnet", image_size=64).settings(), "arguments": {name: trap}}
    settings = {"backbone": backbone, "classes": ["a", "b"], "image_size": 64}
    (tmp_path / "model.json").write_text(json.dumps({"network": "protopnet", "settings": settings}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=f"argument {name} names files"):
        load_network(tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_arguments_of_the_factory_are_not_passed_on(name):
    with pytest.raises(InputError, match=f"argument {name} names files"):
        build_backbone("test_resnet", arguments={name: True})


@pytest.mark.parametrize(
    "value",
    [{"file": "x"}, "a/b", "hf-hub:a", "x" * 65, [[[["deep"]]]], [{"url": 1}]],
    ids=lambda value: str(value)[:9],
)
def test_values_are_plain(value):
    with pytest.raises(InputError, match="argument act_layer is .*; it must be a number, a plain word"):
        build_backbone("test_resnet", arguments={"act_layer": value})


@pytest.mark.parametrize(
    "name", ["hf-hub:a/b", "local-dir:/tmp/x", "hf_hub:a/b", "timm/resnet18", "test_resnet.hf-hub:a"]
)
def test_names_reach_no_hub(name):
    with pytest.raises(InputError):
        build_backbone(name)
    with pytest.raises(InputError):
        backbone_from(Options(backbone=name, image_size=64))


def test_arguments_that_shape_a_network_are_passed_on():
    shapes = {"output_stride": 8, "drop_path_rate": 0.1, "act_layer": "gelu", "block_args": None, "stem_width": 16}
    assert build_backbone("resnet10t", arguments=shapes, image_size=64).stride == 8
    assert build_backbone("mobilenetv2_100:pad_type=same").arguments == {"pad_type": "same"}
    assert build_backbone("torchvision/googlenet:init_weights=False", image_size=64).arguments == {
        "init_weights": False
    }


@pytest.mark.parametrize("make", [build_backbone, build_classifier])
def test_images_have_three_channels(make):
    with pytest.raises(InputError, match="in_chans is 1, but images have three channels.*leave in_chans out"):
        make("test_resnet:in_chans=1")
    assert make("test_resnet:in_chans=3")


def test_a_network_of_other_channels_is_named_before_the_training():
    network = ProtoPNet(ToyBackbone(), ["a", "b"], image_size=16)
    try_channels(network, torch.device("cpu"))
    network.backbone.convolution = torch.nn.Conv2d(1, 8, 4, stride=4)
    with pytest.raises(InputError, match="takes images of 1 channels, but images have three"):
        try_channels(network, torch.device("cpu"))


def test_a_stem_that_folds_pixels_into_channels_is_not_told_of_these():
    with pytest.raises(
        InputError, match="tresnet_m cannot take images of 30 x 30 pixels .*; choose another image size"
    ):
        build_backbone("tresnet_m").grid((30, 30))


@pytest.mark.parametrize("argument", ["features_only=True", "out_indices=2", "feature_cls=list"])
def test_feature_maps_are_chosen_by_features(argument):
    with pytest.raises(InputError, match=f"argument {argument.split('=')[0]} would choose feature maps.*by features="):
        build_backbone(f"test_resnet:{argument}")
