"""Networks are plain modules: a loop of one's own, torch.export and ONNX."""

import numpy as np
import pytest
import torch
from PIL import Image

import protomask
from examples.own_loop import main
from protomask.backbones import build_backbone
from protopnet import ProtoPNet
from xprotonet import XProtoNet


def test_the_own_loop_trains_projects_and_leaves_a_network_that_can_be_loaded(tmp_path):
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    assert main(str(tmp_path / "data"), str(tmp_path / "network"), epochs=6) >= 0.8
    network = protomask.load_network(tmp_path / "network")
    assert network.classes == ("blue", "red")
    assert network.source_positions.min() >= 0 and network.prototype_classes.tolist() == [0, 0, 1, 1]
    # Every prototype is a patch of a training image of its own class: the first nine of 18 are blue.
    assert ((network.source_positions >= 9).long() == network.prototype_classes).all()


@pytest.fixture(params=[ProtoPNet, XProtoNet])
def network(request):
    torch.manual_seed(0)
    backbone = build_backbone("test_resnet")
    return request.param(backbone, ["cat", "dog"], image_size=64, prototypes_per_class=2, channels=4).eval()


ANY_BATCH = ({0: torch.export.Dim("batch", min=1)},)


def test_networks_go_through_torch_export(network):
    program = torch.export.export(network, (torch.randn(2, 3, 64, 64),), dynamic_shapes=ANY_BATCH)
    images = torch.randn(3, 3, 64, 64)
    for found, expected in zip(program.module()(images), network(images)):
        assert torch.allclose(found, expected, atol=1e-5)


def test_networks_go_through_onnx(network, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    file, outputs = tmp_path / "network.onnx", ["logits", "similarities", "distances"]
    given = (torch.randn(2, 3, 64, 64),)
    torch.onnx.export(
        network, given, file, dynamo=True, dynamic_shapes=ANY_BATCH, input_names=["images"], output_names=outputs
    )
    images = torch.randn(3, 3, 64, 64)
    found = onnxruntime.InferenceSession(file).run(outputs, {"images": images.numpy()})
    for values, expected in zip(found, network(images)):
        assert np.abs(values - expected.detach().numpy()).max() < 1e-4
