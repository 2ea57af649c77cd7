"""From a file that others wrote to pictures, explanations, figures and a report."""

import json
import shutil

import numpy as np
import pytest
import torch

from protomask.cli import main
from protomask.networks import load_network
from protomask.run_folder import RunFolder
from tests.end_to_end.conftest import write_folder
from tests.protopnet.official_files import Plain, save_whole

NAMES = ["colour 0", "colour 1", "colour 2"]
MACHINE = ["--image-size", "64", "--batch-size", "8", "--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("some pictures"), 4)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("others") / "10_16push0.8007.pth"
    torch.save(Plain(patch=1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def imported(pictures, state, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "official"
    assert (
        main(
            [
                "import-official",
                str(state),
                "--data",
                "folder",
                "--root",
                str(pictures),
                "--output",
                str(output),
                *MACHINE,
            ]
        )
        == 0
    )
    return RunFolder(output)


def fails(capsys, words, *named):
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("protomask: error: ") and not any("Traceback" in line for line in lines)
    for name in named:
        assert name in lines[-1], lines[-1]


def test_the_run_is_the_file_s_network_and_knows_its_sources(imported, state):
    network = load_network(imported.folder)
    vectors = torch.load(state, weights_only=True)["prototype_vectors"]
    assert torch.equal(network.prototypes.detach(), vectors), "nothing may be moved unless --project says so"
    assert network.source_positions.min() >= 0 and network.source_positions.max() < 12
    metrics = imported.read("metrics.json")
    assert 0 <= metrics["test_accuracy"]["final"] <= 1 and metrics["test_accuracy"]["before_projection"] is None
    config = imported.read("config.json")
    assert config["imported"]["file"] == state.name and config["options"]["backbone"] == "torchvision/resnet18"
    assert not list(imported.folder.rglob("*.part"))


def test_the_other_commands_go_on_from_there(imported, pictures, tmp_path, capsys):
    run = str(imported.folder)
    assert main(["project", run, "--localizer", "center", "--quiet"]) == 0
    rows = imported.read("prototypes.json")
    assert len(rows) == 6 and all(row["class_name"] in row["source"] for row in rows)
    assert (
        main(
            ["evaluate", run, "--localizers", "similarity,random", "--metrics", "deletion", "--samples", "3", "--quiet"]
        )
        == 0
    )
    image = next(iter(sorted((pictures / "test").rglob("*.png"))))
    capsys.readouterr()
    assert (
        main(["explain", run, str(image), "--localizer", "center", "--json", "--output", str(tmp_path), "--quiet"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["predicted"] in NAMES
    assert main(["report", run, "--quiet"]) == 0
    assert (imported / "report.html").stat().st_size > 0


def test_projecting_moves_prototypes_onto_patches(state, pictures, tmp_path):
    save_whole(Plain(patch=1), tmp_path / "whole.pth", legacy=True)
    output = tmp_path / "run"
    assert (
        main(
            [
                "import-official",
                str(tmp_path / "whole.pth"),
                "--data",
                "folder",
                "--root",
                str(pictures),
                "--output",
                str(output),
                *MACHINE,
                "--project",
            ]
        )
        == 0
    )
    metrics = RunFolder(output).read("metrics.json")["test_accuracy"]
    assert metrics["before_projection"] is not None and metrics["final"] == metrics["after_projection"]
    moved = load_network(output)
    again = tmp_path / "again"
    # The projected network, imported once more: its prototypes are patches already.
    torch.save(
        {
            "prototype_vectors": moved.prototypes.detach(),
            "last_layer.weight": moved.last_layer.weight.detach(),
            **{f"add_on_layers.{name}": tensor for name, tensor in moved.add_on.state_dict().items()},
            **{f"features.{name}": tensor for name, tensor in moved.backbone.body.state_dict().items()},
        },
        tmp_path / "moved.pth",
    )
    assert (
        main(
            [
                "import-official",
                str(tmp_path / "moved.pth"),
                "--data",
                "folder",
                "--root",
                str(pictures),
                "--output",
                str(again),
                *MACHINE,
            ]
        )
        == 0
    )
    assert RunFolder(again).read("log.jsonl")[0]["max_distance"] < 1e-3
    assert torch.equal(load_network(again).source_positions, moved.source_positions)
    assert RunFolder(again).read("metrics.json")["test_accuracy"]["final"] == metrics["final"]


def test_classes_in_another_order(state, imported, pictures, tmp_path):
    (tmp_path / "classes.txt").write_text("1 colour 2\n2 colour 0\n3 colour 1\n")
    output = tmp_path / "run"
    assert (
        main(
            [
                "import-official",
                str(state),
                "--data",
                "folder",
                "--root",
                str(pictures),
                "--output",
                str(output),
                *MACHINE,
                "--classes",
                str(tmp_path / "classes.txt"),
            ]
        )
        == 0
    )
    usual, turned = load_network(imported.folder), load_network(output)
    assert turned.classes == usual.classes == tuple(NAMES)
    assert turned.prototype_classes.tolist() == [2, 2, 0, 0, 1, 1]
    assert torch.equal(turned.last_layer.weight, usual.last_layer.weight[[1, 2, 0]])


def test_a_pruned_model_by_its_list_of_removed_prototypes(pictures, tmp_path):
    plain = Plain(patch=1).prune([0, 2, 3, 5])
    plain.last_layer.weight.data.neg_()
    torch.save(plain.state_dict(), tmp_path / "pruned.pth")
    words = ["import-official", str(tmp_path / "pruned.pth"), "--data", "folder", "--root", str(pictures), *MACHINE]
    np.save(tmp_path / "prune_info.npy", np.array([[1, 0], [4, 2]]))
    assert (
        main([*words, "--output", str(tmp_path / "one"), "--prototype-classes", str(tmp_path / "prune_info.npy")]) == 0
    )
    assert load_network(tmp_path / "one").prototype_classes.tolist() == [0, 1, 1, 2]


def test_bad_words_and_files(state, imported, pictures, tmp_path, capsys):
    words = ["import-official", state, "--data", "folder", "--root", pictures, "--output", tmp_path / "run", *MACHINE]
    (tmp_path / "two.txt").write_text("colour 0\ncolour 1\n")
    (tmp_path / "other.txt").write_text("colour 0\ncolour 1\nred\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "wrong.npy", np.array([[9, 1]]))
    fails(capsys, [*words, "--classes", tmp_path / "two.txt"], "2 class names", "3 classes")
    fails(capsys, [*words, "--classes", tmp_path / "other.txt"], "colour 2")
    fails(capsys, [*words, "--classes", tmp_path / "empty.txt"], "empty.txt", "no names")
    fails(capsys, [*words, "--classes", tmp_path / "none.txt"], "none.txt")
    fails(capsys, [*words, "--prototype-classes", tmp_path / "two.txt"], "two.txt", "whole numbers")
    fails(capsys, [*words, "--prototype-classes", tmp_path / "x.npy"], "x.npy")
    fails(capsys, [*words, "--prototype-classes", tmp_path / "object.npy"], "object.npy")
    fails(capsys, [*words, "--prototype-classes", tmp_path / "wrong.npy"], "removed prototypes do not fit")
    fails(capsys, [*words, "--prototype-classes", tmp_path / "none"], "none")
    fails(capsys, [*words, "--backbone", "vgg16"], "vgg16")
    fails(capsys, [*words, "--image-size", "7"], "--image-size")
    fails(capsys, ["import-official", tmp_path / "no.pth", *words[2:]], "no.pth")
    fails(capsys, ["import-official", tmp_path / "two.txt", *words[2:]], "two.txt", "torch.save")
    fails(capsys, [*words[:-5], "--output", imported.folder], "holds a run already")
    fails(capsys, ["train", "--resume", "--output", imported.folder], "import-official")
    assert not (tmp_path / "run").exists()


def test_an_import_that_fails_leaves_nothing(state, tmp_path, pictures, capsys):
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    shutil.copytree(root / "train" / "colour 2", root / "train" / "colour 3")
    fails(
        capsys,
        ["import-official", state, "--data", "folder", "--root", root, "--output", tmp_path / "run", *MACHINE],
        "3 classes",
        "4",
    )
    assert not (tmp_path / "run").exists()
