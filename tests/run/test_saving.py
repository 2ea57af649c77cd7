"""A network of one's own loop becomes a run, of which everything can be asked that a trained run answers."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import protomask
from protomask.errors import InputError
from protomask.report.accuracies import accuracy
from protomask.run.origins import require_trained
from protomask.run_folder import RunFolder
from protopnet import ProtoPNet
from tests.run.conftest import Tensors
from tests.support.toy import ToyBackbone

CLASSES = ["red", "green", "blue"]
QUIET = {"progress": False, "device": "cpu", "workers": 0, "localizer": "center"}


def own_network(**changes):
    torch.manual_seed(0)
    settings = {"image_size": 64, "prototypes_per_class": 2, "channels": 4, **changes}
    return ProtoPNet(protomask.backbones.build_backbone("test_resnet"), CLASSES, **settings)


@pytest.fixture(scope="module")
def data():
    splits = protomask.from_datasets(Tensors(4), Tensors(2, seed=1), classes=CLASSES, validation=0)
    return splits


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    network = own_network(similarity="l2-log")
    vectors = network.prototypes.detach().clone()
    run = protomask.save_run(network, data, tmp_path_factory.mktemp("saved") / "run", samples=3, **QUIET)
    assert torch.equal(run.network.prototypes, vectors)
    return run


def test_prototypes_know_their_nearest_training_patches(saved, data):
    network, positions = saved.network, saved.network.source_positions
    assert torch.equal(data.train.labels[positions], network.prototype_classes)
    distances = torch.cat(
        [network.candidates(batch["images"]).distances for batch in saved.setup.loader(saved.setup.plain)]
    )
    others = data.train.labels[:, None] != network.prototype_classes
    assert torch.equal(distances.masked_fill(others, torch.inf).argmin(0), positions)


def test_the_run_says_what_the_network_is(saved):
    options = saved.files.options()
    assert (options.network, options.backbone, options.similarity) == ("protopnet", "test_resnet", "l2-log")
    assert options.evidence == saved.network.evidence == "signed"
    assert (options.image_size, options.prototypes_per_class, options.prototype_channels) == (64, 2, 4)
    assert saved.metrics["test_accuracy"]["before_projection"] is None
    assert 0 <= saved.metrics["test_accuracy"]["final"] <= 1 and set(saved.metrics["per_class"]) == set(CLASSES)


def test_everything_can_be_asked_of_it(saved, data):
    run = protomask.open_run(saved.folder, data=data, progress=False)
    assert len(run.project().table().splitlines()) == 7
    picture = data.test[0]["image"].as_subclass(torch.Tensor)
    carried = protomask.open_run(saved.folder, progress=False)
    assert carried.explain(picture)[0].logit == pytest.approx(saved.explain(picture)[0].logit, abs=1e-5)
    found = run.evaluate(["similarity", "center"], metrics=["deletion"])
    assert found.localizers == ["similarity", "center"] and len(found.pairs) == 3
    assert "prototype-0" in run.report(explained=1).path.read_text()


def test_projecting_moves_prototypes_onto_patches(data, tmp_path):
    run = protomask.save_run(own_network(), data, tmp_path / "run", project=True, **QUIET)
    distances = torch.cat(
        [run.network.candidates(batch["images"]).distances for batch in run.setup.loader(run.setup.plain)]
    )
    assert distances[run.network.source_positions, range(6)].abs().max() < 1e-5
    scores = run.metrics["test_accuracy"]
    assert scores["final"] == scores["after_projection"] and scores["before_projection"] is not None
    said = accuracy(run.metrics, run.files.read("config.json"), log=run.files.read("log.jsonl"))["sentences"][0]
    assert said.startswith("Tying every prototype") and "re-fitting" not in said
    again = protomask.open_run(run.folder, data=data, progress=False)
    assert torch.equal(again.network.prototypes, run.network.prototypes)


def test_data_by_name_are_found_again(pictures, tmp_path):
    torch.manual_seed(0)
    backbone = protomask.backbones.build_backbone("test_resnet")
    network = ProtoPNet(
        backbone, sorted(each.name for each in pictures.iterdir()), image_size=64, prototypes_per_class=1
    )
    run = protomask.save_run(network, "folder", tmp_path / "run", root=pictures, **QUIET)
    opened = protomask.open_run(run.folder, progress=False)
    assert opened.splits.test.names == run.splits.test.names and opened.options.root == str(pictures)


class Nameless(ProtoPNet):
    registered_as = ""


class Inheriting(ProtoPNet):
    def similarity(self, distances):
        return super().similarity(distances).square()


def without_evidence():
    network = own_network(evidence="positive")
    torch.nn.init.normal_(network.last_layer.weight)
    return network


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": torch.nn.Linear(1, 1)}, "network is a Linear; give the PrototypeNetwork inside it"),
        ({"network": Nameless(ToyBackbone(), CLASSES, image_size=64)}, "Nameless has no registered_as"),
        (
            {"network": ProtoPNet(protomask.backbones.build_backbone("test_resnet"), ["a", "b"], image_size=64)},
            "the network has 2 .a, b.",
        ),
        (
            {"network": Inheriting(protomask.backbones.build_backbone("test_resnet"), CLASSES, image_size=64)},
            "Inheriting is saved as 'protopnet', which rebuilds another network .*, or set registered_as",
        ),
        ({"network": without_evidence()}, r"has positive evidence, but .*; call network.keep_evidence\(\) now, and"),
        (
            {"network": own_network(multi_label=True)},
            "one class per image; the net",
        ),
        ({"backbone": "resnet18"}, "backbone is decided by the network; leave it out"),
        ({"sample": 3}, "no option 'sample'; did you mean samples"),
        ({"data": 3}, "data set"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(changes, said, data, tmp_path):
    given = {"network": own_network(), "data": data, "output": tmp_path / "run", **QUIET, **changes}
    with pytest.raises(InputError, match=said) as caught:
        protomask.save_run(**given)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_an_interruption_leaves_nothing(data, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("protomask.run.saving.keep_config", stop)  # the last of its files
    with pytest.raises(KeyboardInterrupt):
        protomask.save_run(own_network(), data, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(saved, data):
    with pytest.raises(InputError, match="holds a run already"):
        protomask.save_run(own_network(), data, saved.folder, **QUIET)


def test_no_training_is_resumed_where_none_ran(saved, data, tmp_path):
    saved.project()
    made = {"saved": saved, "pruned": saved.prune([0], output=tmp_path / "pruned")}
    for name, run in made.items():
        before = (run.folder / "model.safetensors").read_bytes()
        how = "protomask.save_run" if name == "saved" else "protomask prune"
        with pytest.raises(
            InputError, match=f"made by {how}, so there is no training to resume; start one with"
        ) as said:
            protomask.train(data=data, output=run.folder, resume=True, progress=False)
        assert "\n" not in str(said.value) and (run.folder / "model.safetensors").read_bytes() == before


def test_a_run_that_was_saved_without_a_mark_is_known_by_its_files(saved, tmp_path):
    shutil.copytree(saved.folder, tmp_path / "old")
    old = RunFolder(tmp_path / "old")
    config = old.read("config.json")
    del config["saved"]
    old.write("config.json", config)
    with pytest.raises(InputError, match="protomask.save_run"):
        require_trained(old)
    # A training whose checkpoints were deleted begins anew; one that was killed early has neither network nor log.
    old.write("log.jsonl", [{"stage": "joint", "epoch": 1}])
    require_trained(old)
    for name in ("model.safetensors", "log.jsonl"):
        (old / name).unlink()
    require_trained(old)


@pytest.fixture(scope="module")
def with_pictures(data, tmp_path_factory):
    run = protomask.save_run(own_network(), data, tmp_path_factory.mktemp("pictured") / "run", **QUIET)
    run.project()
    return run.folder


@pytest.fixture
def pictured(with_pictures, data, tmp_path):
    shutil.copytree(with_pictures, tmp_path / "run")
    return protomask.open_run(tmp_path / "run", data=data, progress=False)


def _forget_sources(network):
    network.source_positions.copy_(network.source_positions.roll(1))


def _other_prototypes(network):
    with torch.no_grad():
        network.prototypes.normal_()


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda network: network.keep([0, 2, 4]), "6 pictures, 3 prototypes"),
        (
            lambda network: network.prototype_classes.copy_(torch.tensor([1, 1, 0, 0, 2, 2])),
            "picture 0 is of class red",
        ),
        (lambda network: network.source_locations.add_(1), "shows the patch at"),
        (_forget_sources, "the prototypes have moved"),
        (_other_prototypes, "the prototypes have moved"),
    ],
)
def test_a_changed_network_has_no_pictures_until_they_are_made_again(change, told, pictured, data):
    network, picture = pictured.network, data.test[0]["image"].as_subclass(torch.Tensor)
    change(network)
    network.save(pictured.folder)
    later = protomask.open_run(pictured.folder, data=data, progress=False)
    for each in (pictured, later):
        for ask in (lambda each=each: each.explain(picture), lambda each=each: each.report(explained=0)):
            with pytest.raises(InputError, match=f"{told}.*protomask project"):
                ask()
    if told.startswith("6 pictures"):
        later.project()
        later.explain(picture)


def test_pictures_stay_where_the_last_layer_or_the_precision_is_another(pictured, data):
    network, picture = pictured.network, data.test[0]["image"].as_subclass(torch.Tensor)
    with torch.no_grad():
        network.last_layer.weight.mul_(2)
    network.save(pictured.folder)
    run = protomask.open_run(pictured.folder, progress=False)
    run.explain(picture)
    run.network.double()
    assert len(run.pictures) == 6
    run.network.half()
    assert len(run.pictures) == 6
    older = {name: digest for name, digest in run.files.read("prototypes/files.json").items() if name != "prototypes"}
    run.files.write("prototypes/files.json", older)
    assert len(protomask.open_run(pictured.folder, progress=False).pictures) == 6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_runs_are_of_float32(dtype, data, tmp_path):
    with pytest.raises(InputError, match=rf"network has weights of {dtype}, .*; give network.float\(\)"):
        protomask.save_run(own_network().to(dtype), data, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_backbone_of_ones_own_is_used_now_and_said_not_to_be_read_again(data, tmp_path):
    network = ProtoPNet(ToyBackbone(), CLASSES, image_size=64, prototypes_per_class=1)
    said = "this run can be used now but not opened again: the backbone is not one of build_backbone"
    with pytest.warns(UserWarning, match=said):
        run = protomask.save_run(network, data, tmp_path / "run", **QUIET)
    run.project()
    assert run.explain(data.test[0]["image"].as_subclass(torch.Tensor))
    with pytest.raises(InputError, match="build the network yourself and load model.safetensors"):
        protomask.open_run(run.folder, data=data, progress=False)
    network.load_state_dict(load_file(run.folder / "model.safetensors"))
