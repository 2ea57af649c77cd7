"""Backbones: their maps are the library's own features, and their mistakes are told in one line."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from protomask.backbones import build_backbone
from protomask.backbones.names import parse_name
from protomask.errors import InputError


def images(size=64, batch=2, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def evaluated(module, inputs):
    return module.eval()(inputs)


def twin(backbone, **arguments):
    """timm's own whole model with the backbone's weights; only the classifier may differ."""
    model = timm.create_model(backbone.name, **arguments).eval()
    kept = model.load_state_dict(backbone.body.state_dict(), strict=False)
    assert not kept.unexpected_keys
    assert set(kept.missing_keys) == set(backbone.dropped)
    return model


@pytest.mark.parametrize(
    "name, channels, size, grid",
    [
        ("resnet10t", 512, 64, (2, 2)),
        ("mobilenetv2_100", 1280, 64, (2, 2)),
        ("mobilenetv3_small_050", 288, 64, (2, 2)),
        ("densenet121", 1024, 64, (2, 2)),
        ("convnext_atto", 320, 64, (2, 2)),
        ("test_byobnet", 256, 96, (3, 3)),
        ("test_nfnet", 192, 70, (3, 3)),
    ],
)
def test_convolutional_maps_are_timms_own(name, channels, size, grid):
    backbone = build_backbone(name)
    maps = evaluated(backbone, images(size))
    with torch.no_grad():
        torch.testing.assert_close(maps, twin(backbone).forward_features(images(size)))
    assert (backbone.channels, backbone.stride) == (channels, 32)
    assert maps.shape == (2, channels, *grid)
    assert backbone.grid(size) == grid


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "test_vit2"])
def test_tokens_become_a_grid_without_prefix_tokens(name):
    backbone = build_backbone(name, image_size=64)
    maps = evaluated(backbone, images(64))
    model = twin(backbone, dynamic_img_size=True)
    with torch.no_grad():
        tokens = model.forward_features(images(64))[:, model.num_prefix_tokens :]
    assert maps.shape == (2, backbone.channels, 4, 4)
    for row, column in [(0, 0), (0, 3), (2, 1)]:
        torch.testing.assert_close(maps[:, :, row, column], tokens[:, 4 * row + column])


def test_tokens_of_an_oblong_image_keep_rows_and_columns():
    backbone = build_backbone("test_vit")
    assert evaluated(backbone, torch.zeros(1, 3, 96, 64)).shape[2:] == (6, 4) == backbone.grid((96, 64))


def test_a_transformer_takes_other_sizes_than_its_own():
    backbone = build_backbone("deit_tiny_patch16_224")
    assert [evaluated(backbone, images(size, 1)).shape[-1] for size in (64, 224)] == [4, 14]


def test_nhwc_maps_of_swin_become_nchw():
    backbone = build_backbone("swin_tiny_patch4_window7_224", arguments={"depths": (1, 1, 1, 1)}, image_size=64)
    maps = evaluated(backbone, images(64))
    with torch.no_grad():
        whole = twin(backbone, strict_img_size=False, depths=(1, 1, 1, 1)).forward_features(images(64))
    torch.testing.assert_close(maps, whole.permute(0, 3, 1, 2))
    assert maps.shape == (2, 768, 2, 2)


def test_a_model_whose_last_features_are_no_map_gives_its_last_stage(monkeypatch):
    original = timm.models.resnet.ResNet.forward_features
    monkeypatch.setattr(timm.models.resnet.ResNet, "forward_features", lambda self, x: original(self, x).mean((2, 3)))
    backbone = build_backbone("test_resnet")
    expected = original(backbone.eval().body, images())
    torch.testing.assert_close(backbone(images()), expected)
    assert "fc.weight" in backbone.dropped


@pytest.mark.parametrize(
    "name, classify",
    [
        ("resnet18", lambda model, maps: model.fc(model.avgpool(maps).flatten(1))),
        ("mobilenet_v2", lambda model, maps: model.classifier(maps.mean((2, 3)))),
        ("squeezenet1_1", lambda model, maps: model.classifier(maps).flatten(1)),
        ("densenet121", lambda model, maps: model.classifier(maps.mean((2, 3)))),
        ("shufflenet_v2_x0_5", lambda model, maps: model.fc(maps.mean((2, 3)))),
        ("regnet_y_400mf", lambda model, maps: model.fc(maps.mean((2, 3)))),
    ],
)
def test_torchvisions_classifier_on_the_maps_gives_its_logits(name, classify):
    backbone = build_backbone(f"torchvision/{name}")
    model = torchvision.models.get_model(name, weights=None).eval()
    model.load_state_dict(backbone.body.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(classify(model, evaluated(backbone, images(64))), model(images(64)))


def test_vgg_gives_its_convolutions_and_drops_the_classifier():
    backbone = build_backbone("torchvision/vgg11")
    with torch.device("meta"):  # its classifier alone takes seconds to initialise
        features = torchvision.models.vgg11().features
    weights = {name.removeprefix("features."): tensor for name, tensor in backbone.body.state_dict().items()}
    features.load_state_dict(weights, assign=True)
    with torch.no_grad():
        torch.testing.assert_close(evaluated(backbone, images()), features(images()))


def test_the_map_of_a_stride_is_the_deepest_and_later_layers_are_gone():
    backbone = build_backbone("resnet10t", features=16)
    with torch.no_grad():
        stages = timm.create_model("resnet10t").forward_intermediates(images(), intermediates_only=True)
    assert (backbone.stage, backbone.channels, backbone.stride) == ("layer3", 256, 16)
    assert evaluated(backbone, images()).shape == stages[3].shape
    assert not [name for name in backbone.state_dict() if "layer4" in name or "fc" in name]
    assert {name.split(".")[0] for name in backbone.dropped} == {"layer4", "fc"}
    # The values: those of the whole model with the same weights.
    whole = build_backbone("resnet10t")
    whole.body.load_state_dict(backbone.body.state_dict(), strict=False)
    torch.testing.assert_close(backbone(images()), whole.eval().maps(images())["layer3"])


@pytest.mark.parametrize(
    "features, stage, channels",
    [(16, "features.13", 96), ("8", "features.6", 32), ("features.17", "features.17", 320)],
)
def test_torchvision_maps_by_stride_and_by_name(features, stage, channels):
    backbone = build_backbone("torchvision/mobilenet_v2", features=features)
    assert (backbone.stage, backbone.channels) == (stage, channels)
    model = torchvision.models.mobilenet_v2().eval()
    model.load_state_dict(backbone.body.state_dict(), strict=False)
    with torch.no_grad():
        expected = model.features[: int(stage.rpartition(".")[2]) + 1](images())
    torch.testing.assert_close(evaluated(backbone, images()), expected)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit:num_classes=7", "torchvision/squeezenet1_1"])
def test_all_parameters_that_are_kept_learn(name):
    backbone = build_backbone(name)
    backbone(images(64)).square().mean().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_strides_do_not_depend_on_borders():
    squeezenet = build_backbone("torchvision/squeezenet1_1", image_size=224)
    assert (squeezenet.grid(224), squeezenet.stride) == ((13, 13), 16)
    assert build_backbone("test_resnet", image_size=100).stride == 32
    assert build_backbone("resnet10t:output_stride=8").stride == 8


def test_settings_rebuild_the_backbone():
    options = {"features": "16", "mean": (0.1, 0.2, 0.3), "freeze_norm": True}
    first = build_backbone("mobilenetv2_050:pad_type=same,std=0.5", **options)
    settings = json.loads(json.dumps(first.settings()))
    second = build_backbone(**settings)
    assert second.settings() == first.settings()
    assert settings["arguments"] == {"pad_type": "same"}
    assert (second.mean, second.std, second.freeze_norm) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), True)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(evaluated(second, images()), evaluated(first, images()), rtol=0, atol=0)
    plain = build_backbone("mobilenetv2_050", features=16)
    plain.load_state_dict(first.state_dict())
    assert not torch.allclose(evaluated(plain, images()), evaluated(first, images()), atol=1e-3)


def test_means_are_the_librarys():
    assert build_backbone("test_vit").mean == timm.create_model("test_vit").pretrained_cfg["mean"]
    assert build_backbone("torchvision/squeezenet1_1").std == (0.229, 0.224, 0.225)


def test_names_carry_arguments():
    arguments = {"a": 4, "b": 0.5, "c": "same", "d": None}
    assert parse_name("torchvision/x:a=4, b=0.5,c=same,d=None") == ("torchvision", "x", arguments)


def norms(backbone):
    return [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]


def test_frozen_norms_keep_their_statistics_and_train_their_affine():
    backbone = build_backbone("test_resnet", freeze_norm=True)
    assert backbone.training and norms(backbone) and not any(norm.training for norm in norms(backbone))
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    backbone.train()(images()).sum().backward()
    assert all(torch.equal(before[name], buffer) for name, buffer in backbone.named_buffers())
    assert all(norm.weight.grad is not None for norm in norms(backbone))
    holder = nn.Sequential(backbone).eval().train()
    assert holder[0].body.training and not any(norm.training for norm in norms(holder))


def test_norms_learn_by_default_without_weights_and_not_with_them(tmp_path):
    backbone = build_backbone("test_resnet")
    assert all(norm.training for norm in norms(backbone))
    safetensors.torch.save_file(backbone.body.state_dict(), tmp_path / "w.safetensors")
    assert build_backbone("test_resnet", weights=tmp_path / "w.safetensors").freeze_norm
    assert not build_backbone("test_resnet", weights=tmp_path / "w.safetensors", freeze_norm=False).freeze_norm


def other_seed(name, **options):
    torch.manual_seed(1)
    return timm.create_model(name, **options)


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.", "body."])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s}])
def test_checkpoints_of_many_kinds_load(tmp_path, prefix, wrap):
    model = other_seed("test_resnet", num_classes=7)
    torch.save(wrap({prefix + name: tensor for name, tensor in model.state_dict().items()}), tmp_path / "w.pth")
    backbone = build_backbone("test_resnet", weights=tmp_path / "w.pth")
    with torch.no_grad():
        torch.testing.assert_close(evaluated(backbone, images()), model.eval().forward_features(images()))


def test_weights_of_the_features_alone_load_and_may_lack_counters(tmp_path):
    model = torchvision.models.mobilenet_v2()
    state = {name: value for name, value in model.features.state_dict().items() if "num_batches" not in name}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    backbone = build_backbone("torchvision/mobilenet_v2", weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(backbone.body.features[3].conv[1][0].weight, model.features[3].conv[1][0].weight)


def test_old_names_of_densenet_load(tmp_path):
    state = torchvision.models.densenet121().state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "w.pth")
    backbone = build_backbone("torchvision/densenet121", weights=tmp_path / "w.pth", features=8)
    name = "features.denseblock2.denselayer3.conv2.weight"
    assert torch.equal(backbone.body.state_dict()[name], state[name])


def test_position_embeddings_of_another_size_are_resampled(tmp_path):
    torch.save(timm.create_model("test_vit", img_size=64).state_dict(), tmp_path / "w.pth")
    assert build_backbone("test_vit", weights=tmp_path / "w.pth").channels == 64


def failure(name, **options):
    with pytest.raises(InputError) as caught:
        build_backbone(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_misfits_are_told_at_once_and_counted(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    names = list(state)
    del state[names[0]], state[names[1]]
    state |= {f"extra.{i}": torch.zeros(1) for i in range(9)}
    state["layer4.0.conv1.weight"] = torch.zeros(5, 4)
    torch.save(state, tmp_path / "w.pth")
    message = failure("test_resnet", weights=tmp_path / "w.pth")
    assert f"2 missing: {names[0]}, {names[1]};" in message
    assert "9 unexpected: extra.0, extra.1, extra.2, extra.3, extra.4, extra.5, ...;" in message
    assert "1 of another shape: layer4.0.conv1.weight (5, 4) for (" in message
    assert "w.pth" in message and "backbone=" in message


def test_a_misfit_leaves_no_half_loaded_backbone_and_depth_matters(tmp_path):
    shallow = build_backbone("test_resnet", features=16)
    safetensors.torch.save_file(shallow.body.state_dict(), tmp_path / "w.safetensors")
    assert "missing: layer4" in failure("test_resnet", weights=tmp_path / "w.safetensors")
    assert build_backbone("test_resnet", weights=tmp_path / "w.safetensors", features=16).channels == shallow.channels


def test_files_that_are_no_weights(tmp_path):
    assert "no such file" in failure("test_resnet", weights=tmp_path / "w.pth")
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_text("not weights")
        assert "not a readable" in failure("test_resnet", weights=tmp_path / name)
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    message = failure("test_resnet", weights=tmp_path / "w.pth")
    assert "pickle with code" in message and ".state_dict()" in message
    torch.save([1, 2], tmp_path / "w.pth")
    assert "no tensors" in failure("test_resnet", weights=tmp_path / "w.pth")


def test_no_network_is_told_with_the_mend(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr("protomask.backbones.fetching.answers", lambda address: True)
    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torchvision.models, "get_model", offline)
    for name in ("test_resnet", "torchvision/resnet18"):
        message = failure(name, pretrained=True)
        assert "could not be fetched (no route to host)" in message and "weights=" in message
    assert "exclude" in failure("test_resnet", pretrained=True, weights="w.pth")


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("resnet19", {}, "unknown backbone 'resnet19'; did you mean resnet18"),
        ("mobilenet_v2", {}, "did you mean torchvision/mobilenet_v2"),
        ("torchvision/resnet19", {}, "did you mean torchvision/resnet18"),
        ("torchvision/vit_b_16", {}, "no convolutional feature map"),
        ("", {}, "has no name"),
        ("resnet18.nobody", {}, "resnet18.a1_in1k"),
        ("test_resnet:depth=3", {}, "depth"),
        ("test_resnet:depth", {}, "argument=value"),
        ("torchvision/squeezenet1_1", {"arguments": {"depth": 3}}, "depth"),
        ("test_resnet", {"features": 5}, "stride 5; it has those of 2 (act1), 4 (layer1), 8 (layer2)"),
        ("test_resnet", {"features": "layer5"}, "did you mean layer4"),
        ("test_resnet", {"std": 0}, "positive"),
        ("test_resnet", {"mean": (1, 2)}, "three"),
        ("test_vit", {"image_size": 8}, "cannot take images of 8 x 8"),
    ],
)
def test_mistakes_are_one_line_with_the_mend(name, options, words):
    assert words in failure(name, **options)


def test_a_model_without_a_map_is_refused(monkeypatch):
    kind = timm.models.vision_transformer.VisionTransformer
    monkeypatch.setattr(kind, "forward_features", lambda self, images: images.mean((2, 3)))
    monkeypatch.delattr(kind, "forward_intermediates")
    assert "no feature map" in failure("test_vit")


@pytest.mark.parametrize(
    "file, name, options, channels",
    [
        ("mobilenet_v2_torchvision_features", "torchvision/mobilenet_v2", {}, 1280),
        ("squeezenet1_1", "torchvision/squeezenet1_1", {}, 512),
        ("resnet18_torchvision_to_layer3", "torchvision/resnet18", {"features": 16}, 256),
        ("resnet18_torchvision_to_layer3", "resnet18", {"features": "layer3"}, 256),
        ("mobilenetv2_100_samepad_inat_birds_from_int8", "mobilenetv2_100:pad_type=same", {"mean": 0.5}, 1280),
    ],
)
def test_real_weights_load_without_loss(real_data, file, name, options, channels):
    path = real_data / "weights" / f"{file}.safetensors"
    backbone = build_backbone(name, weights=path, **options)
    stored = safetensors.torch.load_file(path)
    assert backbone.channels == channels and backbone.freeze_norm
    assert all(torch.equal(tensor, stored[name]) for name, tensor in backbone.body.state_dict().items())


def test_real_features_classify_the_cat(real_data):
    from skimage.data import chelsea

    path = real_data / "weights" / "mobilenetv2_100_samepad_imagenet_from_int8.safetensors"
    model = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    model.load_state_dict(safetensors.torch.load_file(path))
    backbone = build_backbone("mobilenetv2_100:pad_type=same,mean=0.5,std=0.5", weights=path)
    picture = torch.from_numpy(np.ascontiguousarray(chelsea()[:, 75:375])).permute(2, 0, 1)[None] / 255
    picture = nn.functional.interpolate(picture, size=(224, 224), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.no_grad():
        maps = evaluated(backbone, (picture - mean) / std)
        torch.testing.assert_close(maps, model.forward_features((picture - mean) / std))
        index = int(model.forward_head(maps).argmax())
    names = (real_data / "weights" / "imagenet_classes.txt").read_text().splitlines()
    assert "Egyptian_cat" in names[index]
