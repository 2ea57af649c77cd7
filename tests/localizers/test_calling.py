"""Localizers of other packages beside built-in ones."""

from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint

import pytest
import torch

import protomask
import protomask.localizers as localizers
from protomask.errors import InputError, PeerLost
from protomask.localizers.calling import call_localizer
from protomask.serve.worker import Cancelled
from tests.support.toy import ToyBackbone

KINDS = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "image_size": 16}


def spoiling(change):
    def localizer(explained, images, index, *, progress=False):
        change(images, index)
        return torch.zeros(len(images), *images.shape[2:])

    return localizer


CHANGES = {
    "values": lambda images, index: images.mul_(0),
    "data": lambda images, index: images.data.mul_(0),
    "array": lambda images, index: images.numpy().fill(0),
    "gradient": lambda images, index: images.requires_grad_(),
    "index": lambda images, index: index.fill_(1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("inference", [False, True])
def test_what_a_localizer_changes_in_place_stays_within_it(change, inference):
    with torch.inference_mode(inference):
        images, index = torch.rand(2, 3, 8, 8), torch.tensor([0, 2])
        before = images.clone(), index.clone()
        if not (inference and change in ("gradient", "array")):  # which inference tensors have not
            call_localizer(spoiling(CHANGES[change]), None, images, index, "mine")
        assert images.equal(before[0]) and index.equal(before[1]) and not images.requires_grad


def test_a_localizer_in_place_spoils_none_beside_it():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    model = torch.nn.Sequential(model, torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    pictures = [torch.rand(3, 16, 16) for _ in range(3)]
    given = {"metrics": ["deletion"], **KINDS}
    alone = protomask.compare(model, pictures, {"gradcam": "gradcam"}, **given)
    for change in ("values", "index"):
        both = protomask.compare(model, pictures, {"own": spoiling(CHANGES[change]), "gradcam": "gradcam"}, **given)
        assert both.values["gradcam"] == alone.values["gradcam"]


@dataclass(frozen=True)
class Broken:
    reach: int = 1

    def __call__(self, explained, images, index, *, progress=False):
        raise KeyError("boom")


def test_a_registered_localizer_that_fails_is_one_line_and_one_s_own_is_not(monkeypatch):
    class Mine(Broken):
        pass

    points = [EntryPoint("broken", f"{__name__}:Broken", localizers.GROUP)]
    monkeypatch.setattr(localizers, "entry_points", lambda group: points)
    monkeypatch.setattr(localizers, "_KINDS", [])
    model = torch.nn.Sequential(ToyBackbone(), torch.nn.Flatten())
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(InputError, match="^localizer 'broken:reach=2' fails: KeyError: 'boom'; mend") as error:
        protomask.look(model, images[0], localizer="broken:reach=2", **KINDS)
    assert isinstance(error.value.__cause__, KeyError) and "\n" not in str(error.value)
    with pytest.raises(KeyError):
        protomask.look(model, images[0], localizer=Mine(), **KINDS)


QUICK = localizers.MDM(runtime=localizers.Runtime(seed=3))
PART = partial(spoiling(CHANGES["values"]))


def test_other_localizers_of_a_class_that_a_package_registers_an_object_of_are_not_its(monkeypatch):
    names = {"quick": "QUICK", "part": "PART", "broken": "Broken"}
    points = [EntryPoint(name, f"{__name__}:{place}", localizers.GROUP) for name, place in names.items()]
    monkeypatch.setattr(localizers, "entry_points", lambda group: points)
    monkeypatch.setattr(localizers, "_KINDS", [])
    part, broken = (localizers.get_localizer(name) for name in ("part", "broken"))
    localizers.get_localizer("quick:seed=2")
    assert localizers.is_registered(part) and localizers.is_registered(broken)
    for own in (localizers.MDM(), partial(spoiling(CHANGES["values"])), localizers.get_localizer("quick")):
        assert not localizers.is_registered(own)


@pytest.mark.parametrize("kind", [PeerLost, Cancelled, InputError, KeyboardInterrupt])
def test_what_protomask_itself_raises_within_a_registered_localizer_stays(monkeypatch, kind):
    def lost(explained, images, index):
        raise kind("as it is")

    monkeypatch.setattr(localizers, "_KINDS", [lost])
    with pytest.raises(kind, match="^as it is$"):
        call_localizer(lost, None, torch.rand(1, 3, 8, 8), torch.tensor([0]), "lost")
