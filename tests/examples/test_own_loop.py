"""Networks are plain modules: a loop of one's own, torch.export and ONNX."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import protomask
from examples import own_loop
from protomask.backbones import build_backbone
from protopnet import ProtoPNet
from xprotonet import XProtoNet


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir()
        for number in range(12):
            pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def check_run(folder, pictures):
    """Every prototype is a patch of a training image of its own class, the first nine of 18 are blue; it explains."""
    run = protomask.open_run(folder, device="cpu", progress=False)
    network = run.network
    assert network.classes == ("blue", "red")
    assert ((network.source_positions >= 9).long() == network.prototype_classes).all()
    assert network.source_positions.min() >= 0
    return run


def test_the_own_loop_leaves_a_run_that_explains_without_its_data(pictures, tmp_path):
    assert own_loop.main(str(pictures), str(tmp_path / "run"), epochs=6) >= 0.8
    run = check_run(tmp_path / "run", pictures)
    assert "red" in run.explain(pictures / "red" / "0.png", localizer="similarity").text()


def test_lightning_leaves_a_run(pictures, tmp_path):
    pytest.importorskip("lightning")
    from examples import lightning_loop

    lines = Path(lightning_loop.__file__).read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    torch.manual_seed(0)
    run = lightning_loop.main(str(pictures), str(tmp_path / "run"), epochs=3, default_root_dir=tmp_path, **quiet)
    assert run.metrics["test_accuracy"]["final"] >= 0.8
    check_run(tmp_path / "run", pictures)


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
