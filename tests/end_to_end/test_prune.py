"""A run without some of its prototypes: what stays is as it was, and every command works with it."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.cli import main
from protomask.explanations.records import Inspection, PrototypePicture, PrototypeRecord
from protomask.networks import load_network
from protomask.run.pruning import _best
from protomask.run_folder import RunFolder
from tests.end_to_end.conftest import SMALL, copied
from tests.support.files import assert_written_last


@pytest.fixture(scope="module")
def own(run, tmp_path_factory):
    copy = copied(run, tmp_path_factory.mktemp("own") / "run")
    assert main(["project", str(copy.folder), "--localizer", "center", "--format", "svg", "--quiet"]) == 0
    return copy


def contents(run):
    return {
        path.relative_to(run.folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.folder.rglob("*")
        if path.is_file()
    }


def test_a_pruned_run_can_be_evaluated_explained_and_reported(own, folder, tmp_path, capsys):
    before = contents(own)
    assert main(["prune", str(own.folder), "--prototypes", "5, 0", "--output", str(tmp_path / "new"), "--quiet"]) == 0
    said = capsys.readouterr().err
    assert contents(own) == before
    new = RunFolder(tmp_path / "new")
    assert not new.has("review.json") and not new.has("forbidden.json")  # nobody marked anything
    assert_written_last(new / "config.json")
    outcome = new.read("metrics.json")["pruned"]
    assert outcome["removed"] == [0, 5] and outcome["prototypes"] == 6
    scores = outcome["test_accuracy"]
    assert f"{scores['before']:.3f} before" in said and f"{scores['after']:.3f} with" in said
    assert outcome["wrong_to_right"] - outcome["right_to_wrong"] == round(12 * (scores["after"] - scores["before"]))
    assert new.read("metrics.json")["test_accuracy"]["final"] == scores["after"]

    old_network, network = load_network(own.folder), load_network(new.folder)
    assert network.prototype_classes.tolist() == [0, 1, 1, 2]
    assert torch.equal(network.prototypes, old_network.prototypes[[1, 2, 3, 4]])
    old, kept = own.read("prototypes.json"), new.read("prototypes.json")
    assert [row["source"] for row in kept] == [old[number]["source"] for number in (1, 2, 3, 4)]
    assert (
        [row["prototype"] for row in kept] == [0, 1, 2, 3] == [row["prototype"] for row in new.read("inspection.json")]
    )
    assert kept[3]["weight"] == pytest.approx(network.last_layer.weight[2, 3].item())
    page = (new / "report.html").read_text()
    assert 'id="prototype-3"' in page and 'id="prototype-4"' not in page

    assert (
        main(
            [
                "evaluate",
                str(new.folder),
                "--localizers",
                "similarity",
                "--samples",
                "3",
                "--metrics",
                "deletion",
                "--quiet",
            ]
        )
        == 0
    )
    picture = next((folder / "test").rglob("*.png"))
    capsys.readouterr()
    assert (
        main(
            [
                "explain",
                str(new.folder),
                str(picture),
                "--localizer",
                "center",
                "--json",
                "--output",
                str(tmp_path / "x"),
                "--quiet",
            ]
        )
        == 0
    )
    line = json.loads(capsys.readouterr().out)
    assert sum(match["points"] for match in line["matches"]) + line["other_points"] == pytest.approx(
        line["logit"], abs=1e-4
    )
    assert main(["train", "--output", str(new.folder), "--resume", *SMALL]) == 2
    assert "prune" in capsys.readouterr().err


def test_flagged_prototypes_go_but_every_class_keeps_one(own, tmp_path, capsys):
    rows = own.read("inspection.json")
    for row in rows:
        row["flags"] = ["background"] if row["prototype"] in (0, 1, 3) else []
        row["outside"] = {"center": 0.9 if row["prototype"] == 0 else 0.8}
    copy = RunFolder(tmp_path / "flagged")
    shutil.copytree(own.folder, copy.folder)
    copy.write("inspection.json", rows)
    assert main(["prune", str(copy.folder), "--flagged", "duplicate", "--quiet"]) == 0
    assert "nothing to remove" in capsys.readouterr().err and not (tmp_path / "flagged-pruned").exists()
    assert main(["prune", str(copy.folder), "--quiet"]) == 0
    assert "every prototype of class colour 0 is flagged; 1," in capsys.readouterr().err
    assert RunFolder(tmp_path / "flagged-pruned").read("metrics.json")["pruned"]["removed"] == [0, 3]


@pytest.mark.parametrize(
    ("outside", "discrimination", "weights", "best", "why"),
    [
        ((0.7, 0.6, 0.9), (0.5, 0.4, 0.6), (1, 1, 1), 1, "most on the object"),
        ((None, None, None), (0.2, 0.3, 0.59), (1, 1, 1), 2, "tells its class best"),
        ((None, None, None), (None, None, None), (1, 3, 2), 1, "greatest weight"),
        ((0.8, None, None), (0.9, 0.5, 0.6), (1, 1, 1), 2, "least on the background"),
        ((0.1, None, 0.8), (0.1, 0.6, 0.6), (1, 1, 1), 0, "most on the object"),
    ],
)
def test_the_prototype_that_stays_is_the_best_by_what_is_known(outside, discrimination, weights, best, why):
    blank = np.zeros((4, 4, 3), np.uint8)
    pictures = [
        PrototypePicture(
            PrototypeRecord(number, "a", "one.png", (0, 0), 1.0, (0, 0, 2, 2), weight),
            blank,
            {},
            Inspection(number, 1, 4, 0.5, 4, outside={} if out is None else {"mdm": out}, discrimination=tells),
        )
        for number, (out, tells, weight) in enumerate(zip(outside, discrimination, weights))
    ]
    kept, said = _best(pictures)
    assert kept == best and why in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prototypes", "0,1"], "class colour 0"),
        (["--prototypes", "6"], "no prototype 6"),
        (["--prototypes", "three"], "'three'"),
        (["--prototypes", ","], "numbers of prototypes"),
        (["--flagged", "ugly"], "background, duplicate"),
        (["--flagged", "background", "--prototypes", "1"], "exclude each other"),
        (["--prototypes", "1", "--output", "."], "exists already"),
    ],
)
def test_wrong_words_write_nothing(own, words, said, capsys):
    before = contents(own)
    assert main(["prune", str(own.folder), *words, "--quiet"]) == 2
    assert said in capsys.readouterr().err
    assert contents(own) == before and not own.folder.with_name("run-pruned").exists()


def test_the_galleries_have_the_format_that_was_asked_for(own):
    assert [path.read_text()[:5] for path in (own / "prototypes").glob("gallery_*.svg")] == ["<?xml"] * 3


def test_a_changed_picture_is_named_and_runs_of_before_have_no_checksums(own, tmp_path, capsys):
    copy = copied(own, tmp_path / "run")
    picture = copy / "prototypes" / "0001.png"
    whole = picture.read_bytes()
    Image.new("RGB", (48, 48)).save(picture)
    assert main(["report", str(copy.folder), "--explained", "0", "--quiet"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "0001.png is damaged (its checksum differs" in error and "protomask project" in error
    (copy / "prototypes" / "files.json").unlink()
    assert main(["report", str(copy.folder), "--explained", "0", "--quiet"]) == 0
    picture.write_bytes(whole)
    assert main(["prune", str(copy.folder), "--prototypes", "0", "--output", str(tmp_path / "new"), "--quiet"]) == 0
    assert set(RunFolder(tmp_path / "new").read("prototypes/files.json")) >= {"maps.npz", "0004.png"}


@pytest.mark.parametrize("words", ["--1", "1-", "a", "1 2", "1.5", ",", "9" * 5000])
def test_what_is_no_number_of_a_prototype_is_named(own, tmp_path, capsys, words):
    assert main(["prune", str(own.folder), f"--prototypes={words}", "--output", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert (
        "--prototypes is" in said and words[:20] in said and "Traceback" not in said and not (tmp_path / "new").exists()
    )
