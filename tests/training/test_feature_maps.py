"""Feature maps in the place of images: the same numbers, once computed, drawn among several views."""

import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from protomask.errors import InputError
from protomask.projection import project
from protomask.training import Epochs, TrainingSet, feature_maps, predict, train
from protomask.training.feature_maps import FeatureMaps, forget_files, passing_features, store_features
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss
from tests.support.toy import ColourImages, ToyBackbone


@pytest.fixture(autouse=True)
def files_of_its_own():
    forget_files()
    yield
    forget_files()


def make(transform=None):
    torch.manual_seed(3)
    data = ColourImages(6)
    net = ProtoPNet(ToyBackbone(norm=True), data.classes, image_size=16, prototypes_per_class=2, channels=6)
    plain = data.with_transform(None)
    return net, TrainingSet(data.with_transform(transform), plain, ColourImages(2, seed=1), batch_size=8, seed=5)


@torch.no_grad()
def expected(net, data):
    net.eval()
    return torch.stack([net.backbone(data[place]["image"][None])[0] for place in range(len(data))])


def images(maps):
    return torch.stack([maps[place]["image"] for place in range(len(maps))])


def test_they_are_the_backbones_in_files_of_any_size(tmp_path, monkeypatch):
    net, setup = make()
    right = expected(net, setup.plain)
    for chunk in (1, 1000, 2**26):
        monkeypatch.setattr(feature_maps, "CHUNK", chunk)
        maps = store_features(net, setup.plain, setup, tmp_path / str(chunk), "plain")
        assert torch.allclose(images(maps), right, rtol=1e-6, atol=1e-6), "what is measured is not rounded"
        assert (maps.names, maps.classes) == (setup.plain.names, setup.plain.classes)
        assert torch.equal(maps.labels, setup.plain.labels)
    assert len(list((tmp_path / "1").iterdir())) == len(right) and len(list((tmp_path / str(2**26)).iterdir())) == 1


def test_many_views_are_kept_in_half_precision(tmp_path):
    net, setup = make()
    maps = store_features(net, setup.train, setup, tmp_path, "training", views=2)
    right = expected(net, setup.plain)
    assert not torch.equal(images(maps), right) and torch.allclose(images(maps), right, rtol=1e-3, atol=1e-4)
    store_features(net, setup.plain, setup, tmp_path, "plain")
    sizes = {path.stem: path.stat().st_size - 128 for path in tmp_path.iterdir()}  # 128 bytes say what follows
    assert sizes == {
        "training-0-0": 2 * right.numel(),
        "training-1-0": 2 * right.numel(),
        "plain-0-0": 4 * right.numel(),
    }


def test_prototypes_become_what_the_network_sees_in_the_images(tmp_path):
    found = []
    for stored in (False, True):
        net, setup = make()
        if stored:
            maps = store_features(net, setup.plain, setup, tmp_path, "plain")
            with passing_features(net):
                project(net, replace(setup, train=maps, plain=maps))
        else:
            project(net, setup)
        found.append((net.prototypes.detach(), net.source_positions))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-6, atol=1e-6) and torch.equal(found[0][1], found[1][1])


def test_numbers_too_large_for_half_precision_are_kept(tmp_path):
    net, setup = make()
    with torch.no_grad():
        net.backbone.convolution.weight.mul_(1e6)
    net.backbone.norm = nn.Identity()
    maps = store_features(net, setup.train, setup, tmp_path, "training", views=2)
    right = expected(net, setup.plain)
    most = float(right.abs().max())
    assert most > torch.finfo(torch.half).max
    # Sums that cancel are as exact as their terms: a batch rounds other than an image alone.
    assert torch.allclose(images(maps), right, rtol=1e-5, atol=1e-6 * most)


def test_views_are_drawn_by_the_seed_of_the_sample(tmp_path):
    net, setup = make(v2.RandomHorizontalFlip(0.5))
    maps = store_features(net, setup.train, setup, tmp_path, "training", views=4)
    seen = [images(FeatureMaps(setup.train, [view], maps.rows)) for view in maps.views]
    assert not torch.equal(seen[0], seen[1]), "each view draws anew"
    found = set()
    for seed in range(40):
        torch.manual_seed(seed)
        first = maps[0]["image"]
        torch.manual_seed(seed)
        assert torch.equal(first, maps[0]["image"])
        found |= {view for view in range(4) if torch.equal(first, seen[view][0])}
    assert found == {0, 1, 2, 3}
    again = store_features(net, setup.train, setup, tmp_path / "again", "training", views=4)
    for view in range(4):
        assert torch.equal(seen[view], images(FeatureMaps(setup.train, [again.views[view]], again.rows)))


def test_files_that_are_there_stay_and_those_that_miss_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_maps, "CHUNK", 1000)
    net, setup = make()
    maps = store_features(net, setup.plain, setup, tmp_path, "plain")
    before = images(maps)
    files = sorted(tmp_path.iterdir())
    made = {path: path.stat().st_mtime_ns for path in files}
    forget_files()
    files[1].unlink()
    assert torch.equal(images(store_features(net, setup.plain, setup, tmp_path, "plain")), before)
    changed = [path for path in files if path.stat().st_mtime_ns != made[path]]
    assert changed == [files[1]]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_named(tmp_path, damage):
    net, setup = make()
    maps = store_features(net, setup.plain, setup, tmp_path, "plain")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(InputError, match=f"{path.name}.*resume"):
        images(maps)


def test_too_little_room_is_said_before_the_work(tmp_path, monkeypatch):
    net, setup = make()
    monkeypatch.setattr(feature_maps.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(InputError, match="room"):
        store_features(net, setup.plain, setup, tmp_path / "new", "plain")
    assert not (tmp_path / "new").exists()


def test_training_on_them_is_training_under_a_backbone_that_rests(tmp_path):
    rates = {"add_on": 1e-2, "prototypes": 1e-2}
    results = []
    for stored in (False, True):
        net, setup = make()
        before = [parameter.clone() for parameter in net.backbone.state_dict().values()]
        plan = [Epochs("joint", 4, ProtoPNetLoss(), rates)]
        if stored:
            maps = store_features(net, setup.plain, setup, tmp_path, "plain")
            checking = store_features(net, setup.validation, setup, tmp_path, "validation")
            own = TrainingSet(maps, maps, checking, batch_size=8, seed=5)
            with passing_features(net):
                rows = train(net, plan, own)
                logits, _ = predict(net, checking, own)
        else:
            rows = train(net, plan, setup)
            logits, _ = predict(net, setup.validation, setup)
        assert all(torch.equal(old, new) for old, new in zip(before, net.backbone.state_dict().values()))
        results.append((torch.tensor([row["loss"] for row in rows]), logits, net))
    (loss, logits, net), (other_loss, other_logits, other) = results
    assert loss[-1] < loss[0] - 0.05
    assert torch.allclose(loss, other_loss, atol=2e-3) and torch.allclose(logits, other_logits, atol=2e-2)
    pictures = torch.stack([setup.plain[place]["image"] for place in range(4)])
    assert torch.allclose(net(pictures).logits, other(pictures).logits, atol=2e-2), "the backbone works again"


def test_a_file_reads_as_numbers_alone(tmp_path):
    path = tmp_path / "plain-0-0.npy"
    np.save(path, np.array([{"not": "numbers"}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"plain-0-0\.npy"):
        FeatureMaps(ColourImages(1, 1), [[path]], 1)[0]
