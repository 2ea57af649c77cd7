"""What torch.set_default_dtype says is no matter of this package: its own tensors are float32."""

import warnings
from contextlib import contextmanager

import pytest
import torch

import protomask
from protomask.explainable import Classifier
from protomask.localizers import get_localizer, localizer_names
from protomask.metrics.classification import auroc
from protomask.metrics.faithfulness import deletion, insertion
from protomask.metrics.imputation import road
from protomask.metrics.localization import box_regions
from protomask.metrics.part_points import parts_in_patch
from protomask.metrics.prototype_sets import distinctiveness
from protomask.metrics.simplicity import sparseness
from protomask.metrics.steadiness import nearby
from protopnet.model import ProtoPNet
from tests.localizers.test_precisions import FEW, corner, prototypes
from tests.run.conftest import SMALL, write_image_folder
from tests.support.scores import Network, pairs


@contextmanager
def by_default(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def both(work):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = work()
        with by_default(torch.float64):
            found = work()
    for one, other in zip(usual, found, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, equal_nan=True)


@pytest.mark.parametrize("name", [each for each in localizer_names() if each not in ("distilled", "prp", "lrp")])
@pytest.mark.parametrize("make", [corner, prototypes])
def test_maps(name, make):
    network, images, index = make()
    own = isinstance(network, ProtoPNet)
    explained = network if own else Classifier(network, "logit", mean=(0.5,) * 3, std=(0.5,) * 3)

    def work():
        localizer = get_localizer(f"{name}:{FEW[name]}" if name in FEW else name)
        try:
            return [localizer(explained, images, index)]
        except protomask.InputError as error:
            assert "float" not in str(error)
            return []  # a method for others

    both(work)


def test_metrics():
    network, (images, index) = Network().eval(), pairs(3, 16, 16)
    saliency = pairs(3, 16, 16, seed=1)[0].abs().mean(1)
    points, visible = torch.tensor([[[8.0, 8.0]]] * 3), torch.ones(3, 1, dtype=torch.bool)
    chosen, positive = torch.tensor([[0.1], [0.5], [0.5], [0.2]]), torch.tensor([[True], [False], [True], [False]])

    def work():
        return [
            auroc(chosen, positive),
            *insertion(network.score, images, index, saliency),
            *deletion(network.score, images, index, saliency),
            *road(network.score, images, index, saliency),
            nearby(images, range(3)),
            box_regions([torch.tensor([[1, 1, 5, 5]])], 16, 16),
            parts_in_patch(saliency, points, visible),
            distinctiveness(saliency[None], torch.ones(1, 3, dtype=torch.bool)),
            sparseness(saliency),
        ]

    both(work)


@pytest.mark.parametrize("network", ["protopnet", "xprotonet"])
def test_a_run(network, tmp_path):
    folder = write_image_folder(tmp_path / "pictures", 6)
    with by_default(torch.float64):
        run = protomask.train(
            network, data="folder", root=str(folder), output=tmp_path / "run", **SMALL | {"localizer": "gradcam"}
        )
        again = protomask.open_run(tmp_path / "run").network
    for one in (run.network, again):
        assert {each.dtype for each in one.parameters()} == {torch.float32}
