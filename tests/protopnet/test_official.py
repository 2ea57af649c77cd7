"""Imported networks against a plain forward pass in the official order; see METHODS: distances to 1e-4, not
similarities near 0."""

import pytest
import torch
import torchvision

from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.projection import project
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from protopnet.cabrnet import Architecture
from protopnet.checkpoint import read_checkpoint
from protopnet.official import DENSENETS, RESNETS, VGGS, build_official, prototype_owners, recognise
from tests.protopnet.official_files import Plain, cabrnet_state, save_whole

NAMES = ["a", "b", "c"]


def images(count=5, size=64, seed=1):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def assert_equal(network, plain, batch):
    with torch.no_grad():
        found = network(batch)
    logits, similarities, distances = plain(batch)
    torch.testing.assert_close(found.distances, distances, atol=1e-4, rtol=1e-5)
    assert distances.min() > 0.01, "this network is of no use here: its distances are where the similarity is steep"
    torch.testing.assert_close(found.similarities, similarities, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.logits, logits, atol=1e-2, rtol=1e-3)
    assert found.logits.argmax(1).equal(logits.argmax(1))


@pytest.mark.parametrize(
    "arch, patch, add_on, size",
    [
        ("resnet18", 1, "regular", 64),
        ("resnet18", 2, "bottleneck", 96),
        ("vgg11_bn", 1, "bottleneck", 64),
        ("densenet121", 1, "regular", 64),
        ("resnet50", 1, "regular", 64),
    ],
)
def test_a_state_dict_gives_the_same_network(tmp_path, arch, patch, add_on, size):
    plain = Plain(arch, patch=patch, add_on=add_on, image_size=size)
    torch.save(plain.state_dict(), tmp_path / "model.pth")
    network = build_official(read_checkpoint(tmp_path / "model.pth"), NAMES, image_size=size)
    assert network.backbone.name == f"torchvision/{arch}" and network.prototypes.shape[2:] == (patch, patch)
    assert_equal(network, plain, images(size=size))
    if patch == 2:
        again = ProtoPNet.from_settings(network.settings())
        again.load_state_dict(network.state_dict())
        assert_equal(again.eval(), plain, images(size=size))


@pytest.mark.parametrize("name", [*RESNETS, *DENSENETS, *VGGS])
def test_every_official_backbone_is_recognised(name):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    assert (
        recognise({key: tensor for key, tensor in state.items() if not key.startswith(("fc.", "classifier."))}, "x")
        == name
    )


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_model_needs_none_of_its_code(tmp_path, legacy):
    plain = Plain(image_size=64)
    save_whole(plain, tmp_path / "10push0.8000.pth", legacy)
    checkpoint = read_checkpoint(tmp_path / "10push0.8000.pth")
    assert checkpoint.image_size == 64 and prototype_owners(checkpoint)[1] == "from the file"
    assert_equal(build_official(checkpoint, NAMES), plain, images())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_are_those_that_torch_reads(tmp_path, legacy):
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    saved = {
        "whole": base,
        "turned": base.T,
        "slice": base[1:3, ::2],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "half": base.half(),
        "brain": base.bfloat16(),
        "flags": base > 3,
        "bytes": base.byte(),
        "int": base.int(),
        "parameter": torch.nn.Parameter(base.float()),
    }
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    from protomask.importing.torch_files import TorchFile

    file = TorchFile(tmp_path / "x.pth")
    expected = torch.load(tmp_path / "x.pth", weights_only=True)
    assert list(file.content) == list(saved)
    for name, stored in file.content.items():
        found = file.tensor(stored)
        assert found.dtype == expected[name].dtype and torch.equal(found, expected[name].detach()), name


def test_data_parallel_and_wrappers(tmp_path):
    plain = Plain()
    state = {
        f"module.{name}": tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in plain.state_dict().items()
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "model.pth")
    network = build_official(read_checkpoint(tmp_path / "model.pth"), NAMES)
    assert network.prototypes.dtype == torch.float32
    torch.testing.assert_close(network.prototypes.detach(), plain.prototype_vectors.detach(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_model_within_data_parallel(tmp_path, legacy):
    plain = Plain().prune([0, 2, 3, 4])
    torch.save(torch.nn.DataParallel(plain), tmp_path / "model.pth", _use_new_zipfile_serialization=not legacy)
    checkpoint = read_checkpoint(tmp_path / "model.pth")
    assert checkpoint.owners.tolist() == [0, 1, 1, 2] and checkpoint.image_size == 64
    # DataParallel has put it on CUDA where there is one.
    assert_equal(build_official(checkpoint, NAMES), plain.cpu(), images())


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    plain = Plain()
    save_file(plain.state_dict(), tmp_path / "model.safetensors")
    assert_equal(build_official(read_checkpoint(tmp_path / "model.safetensors"), NAMES), plain, images())


CONFIG = """
extractor:
  backbone: {arch: %s, layer: %s, weights: IMAGENET1K_V1}
  add_on:
    init_mode: PROTOPNET
    conv1: {type: Conv2d, params: {out_channels: 8, kernel_size: 1, bias: True}}
    act1: {type: ReLU}
    conv2: {type: Conv2d, params: {out_channels: 8, kernel_size: 1, bias: True}}
    act2: {type: Sigmoid}
similarity: {name: LegacyProtoPNetSimilarity}
classifier: {module: cabrnet.archs.protopnet.decision, name: ProtoPNetClassifier}
"""


@pytest.mark.parametrize("arch, layer", [("resnet18", "layer4"), ("resnet18", None)])
def test_cabrnet(tmp_path, arch, layer):
    plain = Plain(arch)
    torch.save(cabrnet_state(plain), tmp_path / "model_state.pth")
    if layer:
        (tmp_path / "model_arch.yml").write_text(CONFIG % (arch, layer))
    checkpoint = read_checkpoint(tmp_path / "model_state.pth")
    assert checkpoint.owners.tolist() == [0, 0, 1, 1, 2, 2]
    assert_equal(build_official(checkpoint, NAMES), plain, images())


@pytest.mark.parametrize(
    "name, source, expected",
    [
        ("vgg19", "features", None),
        ("vgg19", "features.28", "features.28"),
        ("resnet50", "layer3", "layer3.5"),
        ("densenet121", "relu", None),
        (None, None, None),
    ],
)
def test_feature_maps_of_cabrnet(name, source, expected):
    state = [
        "conv1.weight",
        "layer3.0.conv1.weight",
        "layer3.5.conv1.weight",
        "layer3.1.conv1.weight",
        "features.28.weight",
    ]
    assert Architecture(name, source).features(state) == expected


@pytest.mark.parametrize(
    "name, source", [("densenet121", "features"), ("resnet50", "layer5"), ("vgg19", "classifier.1")]
)
def test_feature_maps_that_no_backbone_gives(name, source):
    with pytest.raises(InputError, match=source):
        Architecture(name, source).features(["layer3.0.conv1.weight"])


def test_cabrnet_prototypes_that_pruning_disabled_are_left_out(tmp_path):
    plain = Plain()
    state = cabrnet_state(plain)
    state["classifier.proto_class_map"][3] = 0
    state["classifier.last_layer.weight"][:, 3] = 0
    torch.save(state, tmp_path / "model_state.pth")
    network = build_official(read_checkpoint(tmp_path / "model_state.pth"), NAMES)
    assert network.prototype_classes.tolist() == [0, 0, 1, 2, 2]
    with torch.no_grad():
        torch.testing.assert_close(network(images()).logits, plain(images())[0], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(
    "change, says",
    [
        (("layer: layer4", "layer: avgpool"), "avgpool"),
        (("LegacyProtoPNetSimilarity", "CosineSimilarity"), "CosineSimilarity"),
        (("type: Sigmoid", "type: Tanh"), "Tanh"),
        (("extractor:", "other:"), "no extractor"),
        (("similarity:", "{"), "YAML"),
        (("layer: layer4", "postprocess: {stride_divider: 1}"), "postprocess"),
    ],
)
def test_cabrnet_architectures_that_differ_are_refused(tmp_path, change, says):
    torch.save(cabrnet_state(Plain()), tmp_path / "model_state.pth")
    (tmp_path / "model_arch.yml").write_text((CONFIG % ("resnet18", "layer4")).replace(*change))
    with pytest.raises(InputError, match=says):
        build_official(read_checkpoint(tmp_path / "model_state.pth"), NAMES)


@pytest.mark.parametrize("kept", [[0, 2, 3, 4], [1, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_pruned_models_know_the_classes_of_their_prototypes(tmp_path, kept):
    plain = Plain().prune(kept)
    owners = [number // 2 for number in kept]
    torch.save(plain.state_dict(), tmp_path / "state.pth")
    from_weights = read_checkpoint(tmp_path / "state.pth")
    assert prototype_owners(from_weights)[0].tolist() == owners
    save_whole(plain, tmp_path / "whole.pth")
    whole = read_checkpoint(tmp_path / "whole.pth")
    assert prototype_owners(whole)[0].tolist() == owners
    network = build_official(whole, NAMES)
    assert network.prototype_classes.tolist() == owners
    assert_equal(network, plain, images())


def test_a_pruned_model_that_does_not_tell_is_refused(tmp_path):
    plain = Plain().prune([0, 1, 2, 4])
    plain.last_layer.weight.data[:, 1] = -0.1
    torch.save(plain.state_dict(), tmp_path / "state.pth")
    checkpoint = read_checkpoint(tmp_path / "state.pth")
    with pytest.raises(InputError, match="prototype_classes="):
        build_official(checkpoint, NAMES)
    owners, how = prototype_owners(checkpoint, [0, 0, 1, 2])
    assert how == "as given" and build_official(checkpoint, NAMES, owners=owners).prototype_classes.tolist() == [
        0,
        0,
        1,
        2,
    ]
    with pytest.raises(InputError, match="4 prototypes of 3 classes"):
        prototype_owners(checkpoint, [0, 0, 1, 3])


class Pictures(AnnotatedImages):
    def __init__(self, batch, labels):
        super().__init__(NAMES, labels, [str(number) for number in range(len(batch))])
        self.batch = batch

    def load(self, index):
        return {"image": self.batch[index], "boxes": torch.zeros(0, 4)}


@pytest.mark.parametrize("patch", [1, 2])
def test_projection_is_the_official_push(tmp_path, patch):
    plain = Plain(patch=patch, image_size=96)
    torch.save(plain.state_dict(), tmp_path / "model.pth")
    network = build_official(read_checkpoint(tmp_path / "model.pth"), NAMES, image_size=96)
    batch, labels = images(7, 96), torch.tensor([2, 0, 1, 1, 0, 2, 1])
    data = Pictures(batch, labels)
    vectors, places = plain.push(batch, labels)
    project(network, TrainingSet(data, data, data.subset([]), batch_size=3))
    torch.testing.assert_close(network.prototypes.detach(), vectors, atol=1e-5, rtol=1e-4)
    assert [
        (image, row, column)
        for image, (row, column) in zip(network.source_positions.tolist(), network.source_locations.tolist())
    ] == places


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda model: setattr(model, "prototype_activation_function", "linear"), "linear"),
        (lambda model: setattr(model, "epsilon", 1e-2), "epsilon"),
        (lambda model: model.prototype_class_identity.zero_(), "table of prototypes"),
        (
            lambda model: setattr(
                model, "add_on_layers", torch.nn.Sequential(torch.nn.Conv2d(512, 8, 1), torch.nn.Tanh())
            ),
            "Tanh",
        ),
        (
            lambda model: model.prototype_vectors.data[0].fill_(torch.nan),
            "prototype_vectors has numbers that are infinite or none",
        ),
    ],
)
def test_models_that_compute_otherwise_are_refused(tmp_path, change, says):
    plain = Plain()
    change(plain)
    save_whole(plain, tmp_path / "model.pth")
    with pytest.raises(InputError, match=says):
        build_official(read_checkpoint(tmp_path / "model.pth"), NAMES)


def test_files_that_are_something_else(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no ProtoPNet in it"):
        read_checkpoint(tmp_path / "other.pth")
    state = Plain().state_dict()
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(InputError, match="has 3 classes, but the data have 2"):
        build_official(read_checkpoint(tmp_path / "model.pth"), NAMES[:2])
    with pytest.raises(InputError, match="torchvision/resnet34"):
        build_official(read_checkpoint(tmp_path / "model.pth"), NAMES, backbone="resnet34")
    torch.save({name: tensor for name, tensor in state.items() if "layer3" not in name}, tmp_path / "cut.pth")
    with pytest.raises(InputError, match="its backbone is none of resnet18"):
        build_official(read_checkpoint(tmp_path / "cut.pth"), NAMES)
    with pytest.raises(InputError, match="nowhere.pth: no such file"):
        read_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    "name, tensor, says",
    [
        ("conv_offset.weight", torch.zeros(8, 8, 3, 3), "'conv_offset.weight' is no part of a ProtoPNet"),
        ("last_layer.bias", torch.tensor([0.0, 0.0, 1.0]), "last_layer.bias is not zero"),
        ("ones", torch.full((6, 8, 1, 1), 2.0), "ones has other values than 1"),
        ("last_layer.bias", torch.zeros(3), None),
        ("prototype_class_identity", torch.eye(3)[[2, 2, 1, 1, 0, 0]], None),
    ],
)
@pytest.mark.parametrize("kind", ["state", "whole", "safetensors"])
def test_networks_with_further_parts_are_refused(tmp_path, name, tensor, says, kind):
    from safetensors.torch import save_file

    plain, path = Plain(), tmp_path / ("model.safetensors" if kind == "safetensors" else "model.pth")
    state = {**plain.state_dict(), name: tensor}
    if kind == "whole":
        home, _, last = name.rpartition(".")
        if home == "conv_offset":
            plain.conv_offset = torch.nn.Module()
        for place in (plain.get_submodule(home).__dict__, plain.get_submodule(home)._parameters):
            place.pop(last, None)
        plain.get_submodule(home).register_buffer(last, tensor)
        save_whole(plain, path)
    else:
        save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    if says is None:
        checkpoint = read_checkpoint(path)
        owners = [2, 2, 1, 1, 0, 0] if name == "prototype_class_identity" else [0, 0, 1, 1, 2, 2]
        assert prototype_owners(checkpoint)[0].tolist() == owners
    else:
        with pytest.raises(InputError, match=says):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "name, tensor, says",
    [
        ("classifier.attention.weight", torch.ones(2), "'classifier.attention.weight' is no part"),
        ("classifier.last_layer.bias", torch.ones(3), "classifier.last_layer.bias is not zero"),
        (
            "extractor.add_on.conv9.weight",
            torch.ones(8, 8, 1, 1),
            "extractor.add_on.conv9.weight is of no add-on layer",
        ),
    ],
)
def test_cabrnet_networks_with_further_parts_are_refused(tmp_path, name, tensor, says):
    torch.save({**cabrnet_state(Plain()), name: tensor}, tmp_path / "model_state.pth")
    (tmp_path / "model_arch.yml").write_text(CONFIG % ("resnet18", "layer4"))
    with pytest.raises(InputError, match=says):
        read_checkpoint(tmp_path / "model_state.pth")
