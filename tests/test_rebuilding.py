"""What is saved gives the network back, or that is said before it is written."""

import json
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import protomask
from protomask.backbones import build_backbone
from protomask.errors import InputError
from protomask.networks import save_network
from protomask.rebuilding import hindrance
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet

SMALL = {"image_size": 64, "prototypes_per_class": 2, "channels": 4}


def of(kind=ProtoPNet, backbone=None, **changes):
    torch.manual_seed(0)
    return kind(build_backbone("test_resnet") if backbone is None else backbone, ["cat", "dog"], **SMALL, **changes)


class Squared(ProtoPNet):
    def similarity(self, distances):
        return super().similarity(distances).square()


class Square(nn.Module):
    def forward(self, features):
        return features.square()


class Wrapped(nn.Module):
    """A backbone of one's own that hands on the settings of the one within it."""

    def __init__(self):
        super().__init__()
        self.within = build_backbone("test_resnet")
        self.channels, self.mean, self.std = self.within.channels, self.within.mean, self.within.std
        self.grid, self.settings = self.within.grid, self.within.settings

    def forward(self, images):
        return self.within(images)


def with_other_layer():
    network = of(add_on=["conv 4", "relu"])
    network.add_on[1] = Square()
    return network


def with_attribute(**values):
    network = of()
    for name, value in values.items():
        setattr(network, name, value)
    return network


def with_smaller_steps():
    network = of()
    next(each for each in network.backbone.modules() if getattr(each, "stride", None) == (2, 2)).stride = (1, 1)
    return network


def with_method():
    network = of()
    network.similarity = lambda distances: 2 - distances
    return network


OTHERS = [
    (
        lambda: of(Squared),
        r"^Squared is saved as 'protopnet', which rebuilds another network \(it is tests\.test_rebuilding\.Squared, "
        r"rebuilt as protopnet\.model\.ProtoPNet\); let settings\(\) say it, or set registered_as to an entry",
    ),
    (with_other_layer, r"\(add_on.1 is .*\.Square, rebuilt as .*\.ReLU\); let settings\(\) say it, or"),
    (lambda: with_attribute(mean=(0.1, 0.1, 0.1)), r"\(mean is \(0.1, 0.1, 0.1\), rebuilt as "),
    (with_smaller_steps, r"stride is \(1, 1\), rebuilt as \(2, 2\)"),
    (with_method, "similarity is <function .*, rebuilt as "),
    (
        lambda: with_attribute(settings=lambda: {"backbone": torch.ones(1)}),
        r"settings\(\) of ProtoPNet cannot be written as JSON \(.*\); give plain numbers",
    ),
]


@pytest.mark.parametrize("network, said", OTHERS)
def test_what_would_be_read_as_another_network_is_not_saved(network, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        network().save(tmp_path / "new")
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


class Trained(ProtoPNet):
    def training_step(self, batch):
        return self(batch).logits.sum()


class MoreGiven(Trained):
    """Gives distances that are NaN, and something else beside them."""

    def forward(self, images):
        class More(NamedTuple):
            logits: torch.Tensor
            similarities: torch.Tensor
            distances: torch.Tensor
            more: dict

        logits, similarities, distances = super().forward(images)
        return More(logits, similarities, distances * torch.nan, {})


class OutOfMemory(ProtoPNet):
    def forward(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory")


class Unlike(ProtoPNet):
    """Answers otherwise each time."""

    def weigh(self, similarities):
        return super().weigh(similarities) + torch.rand(())


ALIKE = r"with the same answers, but it is tests\.test_rebuilding\.\w+, rebuilt as protopnet\.model\.ProtoPNet$"
NOT_COMPARED = r"^\w+ was not compared with what 'protopnet' rebuilds \(%s.*\); see that"


@pytest.mark.parametrize(
    "network, said",
    [
        (lambda: of(Trained), ALIKE),
        (lambda: of(MoreGiven), ALIKE),
        (lambda: of(OutOfMemory), NOT_COMPARED % "CUDA out of memory"),
        (lambda: of(Unlike), NOT_COMPARED % "it answers the same image otherwise each time"),
        (
            lambda: with_attribute(outline_level=0.7),
            "with the same answers, but outline_level is 0.7, rebuilt as None$",
        ),
    ],
)
def test_only_answers_that_were_seen_to_differ_are_refused(network, said, tmp_path):
    own, state = network(), torch.get_rng_state()
    with pytest.warns(UserWarning, match=said) as caught:
        own.save(tmp_path)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert torch.equal(torch.get_rng_state(), state) and own.training
    assert torch.equal(protomask.load_network(tmp_path).prototypes, own.prototypes)


class WithArray(ProtoPNet):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.table = np.arange(3)


@pytest.mark.parametrize("table", [np.arange(3), [0, 1, 2], None, 3.5, torch.arange(3)])
def test_attributes_of_two_kinds_are_compared(table, tmp_path, monkeypatch):
    monkeypatch.setattr("protopnet.recipe.rebuild", WithArray.from_settings)
    network = of(WithArray)
    network.table = table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.save(tmp_path)


class WithMore(Squared):
    def save(self, folder):
        super().save(folder)
        (Path(folder) / "more.txt").write_text("more")


class WithNothing(Squared):
    def save(self, folder, registered_as=None):
        raise OSError("the place for more is full")


def test_a_run_writes_what_the_network_itself_would(tmp_path):
    save_network(of(WithMore), "protopnet", tmp_path)
    assert (tmp_path / "more.txt").exists() and (tmp_path / "model.safetensors").exists()
    with pytest.raises(InputError, match="^WithMore is saved as"):
        of(WithMore).save(tmp_path / "another")


class WithSaveNetwork(Squared):
    written = 0

    def save(self, folder, registered_as=None):
        WithSaveNetwork.written += 1
        save_network(self, "protopnet", folder)


def test_a_save_of_ones_own_may_call_save_network(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_network(of(WithSaveNetwork), "protopnet", tmp_path)
    assert WithSaveNetwork.written == 1 and (tmp_path / "model.json").exists()


def test_a_training_is_not_lost_for_a_save_of_its_own(tmp_path):
    with pytest.warns(UserWarning, match=r"save\(\) of WithNothing failed \(OSError: the place for more is full\)"):
        save_network(of(WithNothing), "protopnet", tmp_path)
    assert torch.equal(protomask.load_network(tmp_path).prototypes, of(WithNothing).prototypes)


def test_a_last_layer_that_cannot_be_copied_is_saved(tmp_path):
    network = of(evidence="positive")
    weight = network.last_layer.weight
    del network.last_layer.weight
    network.last_layer.own = weight
    network.last_layer.weight = weight * 1  # as torch.nn.utils.weight_norm leaves it
    with pytest.warns(UserWarning, match="rebuilds it with other weights"):
        network.save(tmp_path)


def test_a_subclass_with_an_entry_point_of_its_own_is_read_again(tmp_path, monkeypatch):
    module = type("Module", (), {"rebuild": staticmethod(Squared.from_settings)})
    for place in ("networks", "rebuilding"):
        monkeypatch.setattr(f"protomask.{place}.get_network", lambda name: module)
    network = of(Squared)
    network.save(tmp_path, "squared")
    assert type(protomask.load_network(tmp_path)) is Squared


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
def test_what_matters_in_training_alone_is_saved(kind, tmp_path):
    network = of(kind, build_backbone("test_resnet", freeze_norm=True), evidence="positive")
    network.keep([0, 2, 3])
    network.epoch = 7
    network.last_layer.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.save(tmp_path)
    assert network.training
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(protomask.load_network(tmp_path)(images).logits, network.eval()(images).logits)


def test_saving_builds_no_weights_and_draws_no_random_numbers(monkeypatch):
    network, state = with_attribute(epoch=7, best={"loss": 1.0}), torch.get_rng_state()
    built = []
    rebuild = ProtoPNet.from_settings

    def watched(settings):
        built.append(rebuild(settings))
        return built[-1]

    monkeypatch.setattr("protopnet.recipe.rebuild", watched)
    assert hindrance(network, "protopnet") is None
    assert len(built) == 1 and all(each.is_meta for each in built[0].backbone.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(each.is_meta for each in build_backbone("test_resnet").parameters())


def test_a_backbone_that_shapes_alone_cannot_build_is_built_in_full(monkeypatch):
    network, real = of(), build_backbone

    def numbers_first(**settings):
        found = real(**settings)
        float(next(found.parameters()).detach().sum())
        return found

    monkeypatch.setattr("protopnet.model.build_backbone", numbers_first)
    assert hindrance(network, "protopnet") is None


@pytest.mark.parametrize("network", [of, lambda **more: of(XProtoNet, **more)])
def test_evidence_that_was_not_kept_is_not_saved(network, tmp_path):
    lost = network(evidence="positive")
    for place, value in (((0, 3), -0.01), ((0, 0), -1.0)):
        lost.keep_evidence()
        with torch.no_grad():
            lost.last_layer.weight[place] = value
        before = lost.last_layer.weight.detach().clone()
        with pytest.raises(InputError, match=r"has positive evidence, but .*; call network.keep_evidence\(\) now"):
            lost.save(tmp_path)
        assert torch.equal(lost.last_layer.weight, before)
    lost.keep_evidence()
    lost.last_layer.weight.data[0, 3] = -1e-9  # of an optimizer's rounding
    lost.save(tmp_path)
    signed = network()
    signed.last_layer.weight.data.normal_()
    signed.save(tmp_path)


def other_backbone(**settings):
    backbone = ToyBackbone()
    backbone.settings = lambda: settings
    return of(backbone=backbone)


@pytest.mark.parametrize(
    "network, said",
    [
        (lambda: other_backbone(name="toy"), "the backbone is not one of build_backbone .*'toy'"),
        (lambda: other_backbone(kind="toy"), "the backbone is not one of build_backbone .*'kind'"),
        (lambda: other_backbone(), "the backbone is not one of build_backbone"),
        (lambda: of(backbone=Wrapped()), "'protopnet' rebuilds it with other weights .backbone.within"),
    ],
)
def test_what_cannot_be_rebuilt_keeps_its_weights_and_says_so(network, said, tmp_path):
    own = network()
    with pytest.warns(UserWarning, match=f"holds a network that load_network cannot read: {said}.*; build the network"):
        own.save(tmp_path)
    with pytest.raises(InputError, match="build the network yourself and load model.safetensors") as caught:
        protomask.load_network(tmp_path)
    assert "\n" not in str(caught.value)
    from safetensors.torch import load_file

    again = network()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))


def test_a_kind_that_is_not_installed_and_broken_weights_are_told(tmp_path):
    with pytest.warns(UserWarning, match="network 'mine' is unknown"):
        of().save(tmp_path, "mine")
    broken = of()
    broken.prototypes.data[0] = torch.nan
    with pytest.warns(UserWarning, match="prototypes holds numbers that are not finite"):
        broken.save(tmp_path)


def test_settings_that_are_odd_are_no_backbone_of_ones_own(tmp_path):
    of().save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    del about["checksum"]
    about["settings"]["patchh"] = 1
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="does not describe a network .*'patchh'.*; restore it"):
        protomask.load_network(tmp_path)
