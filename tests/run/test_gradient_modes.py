"""A run is trained, opened, explained and pruned under no_grad and inference_mode as elsewhere."""

import pytest
import timm
import torch

import protomask
from protomask.distillation import Distillation
from tests.run.conftest import SMALL, write_image_folder


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_run(mode, tmp_path):
    folder = write_image_folder(tmp_path / "pictures", 4)
    picture = str(next(folder.rglob("*.png")))
    with mode():
        options = SMALL | {"localizer": "gradcam"}
        run = protomask.train("protopnet", data="folder", root=str(folder), output=tmp_path / "run", **options)
        opened = protomask.open_run(tmp_path / "run")
        for each in (run, opened):
            each.explain(picture)
        opened.evaluate()
        opened.prune([0], output=tmp_path / "pruned")
    learned = protomask.load_network(tmp_path / "pruned")
    for network in (run.network, opened.network, learned):
        assert not any(parameter.is_inference() for parameter in network.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_distillation(mode, tmp_path):
    folder = write_image_folder(tmp_path / "pictures", 4)
    model = timm.create_model("test_resnet", num_classes=3, pretrained=False).eval()
    classifier = protomask.Classifier(model, "logit", mean=(0.5,) * 3, std=(0.5,) * 3)
    settings = Distillation(steps=2, imitation=2, maps=4, teacher="mdm:keep.steps=3")
    with mode():
        distilled = protomask.distill(
            classifier, str(folder), output=tmp_path / "explainer", image_size=64, settings=settings
        )
        images = torch.zeros(1, 3, 64, 64)
        assert distilled(classifier, images, torch.tensor([0])).shape == (1, 64, 64)
