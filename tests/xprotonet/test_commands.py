"""The commands with ``--network xprotonet``: no special case anywhere."""

import pytest

from protomask.cli import main
from protomask.run_folder import RunFolder
from tests.end_to_end.conftest import SMALL, write_folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "a run"
    assert (
        main(
            [
                "train",
                "--network",
                "xprotonet",
                "--data",
                "folder",
                "--root",
                str(pictures),
                "--output",
                str(output),
                *SMALL,
                "--samples",
                "3",
            ]
        )
        == 0
    )
    return RunFolder(output)


def test_a_run_leaves_prototypes_evaluation_and_report(run):
    for name in ("config.json", "model.safetensors", "metrics.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    prototypes = run.read("prototypes.json")
    assert len(prototypes) == 6
    for row in prototypes:
        assert row["class_name"] in row["source"] and set(row["boxes"]) == {"mdm", "similarity"}
        assert row["similarity"] > 0.999
    assert {row["localizer"] for row in run.read("evaluation.json")["rows"]} == {
        "mdm",
        "similarity",
        "center",
        "random",
    }


def test_explain_shows_the_points(run, pictures, tmp_path, capsys):
    image = next(pictures.glob("test/*/*.png"))
    assert main(["explain", str(run.folder), str(image), "--output", str(tmp_path), "--quiet"]) == 0
    assert "points" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_options_that_xprotonet_lacks_end_in_one_line(tmp_path, capsys):
    assert (
        main(
            ["train", "--network", "xprotonet", "--similarity", "l2-log", "--output", str(tmp_path / "none"), "--quiet"]
        )
        == 2
    )
    assert "--similarity is l2-log: XProtoNet" in capsys.readouterr().err


def test_a_run_can_be_pruned(run, tmp_path):
    new = RunFolder(tmp_path / "pruned")
    assert main(["prune", str(run.folder), "--prototypes", "0,3", "--output", str(new.folder), "--quiet"]) == 0
    assert new.read("metrics.json")["pruned"]["removed"] == [0, 3] and len(new.read("prototypes.json")) == 4
    assert (
        main(
            [
                "evaluate",
                str(new.folder),
                "--localizers",
                "similarity",
                "--metrics",
                "deletion",
                "--samples",
                "2",
                "--quiet",
            ]
        )
        == 0
    )
    assert {row["localizer"] for row in new.read("evaluation.json")["rows"]} == {"similarity"}
