"""``protomask distill``, and its localizer in the other commands."""

import json
import shutil

import pytest

import protomask
from protomask.cli import main

FEW = ["--steps", "3", "--imitation", "2", "--maps", "3", "--batch-size", "4", "--quiet"]


@pytest.fixture(scope="module")
def distilled(run, tmp_path_factory):
    copy = tmp_path_factory.mktemp("distilled") / "run"
    shutil.copytree(run.folder, copy)
    assert main(["evaluate", str(copy), "--localizers", "distilled", "--quiet"]) == 2
    assert main(["distill", str(copy), *FEW]) == 0
    return copy


def test_the_run_has_a_localizer_of_its_own(distilled, capsys):
    assert main(["evaluate", str(distilled), "--localizers", "distilled,similarity", "--samples", "4", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "distilled" in table
    assert main(["project", str(distilled), "--localizer", "distilled:steps=1,check=false", "--quiet"]) == 0
    opened = protomask.open_run(distilled, progress=False)
    assert set(opened.pictures[0].maps) == {"distilled:steps=1,check=false", "similarity"}
    found = opened.explain(
        opened.splits.test.with_transform(None)[0]["image"], localizer="distilled:steps=1,check=false"
    )
    assert found[0].matches
    assert opened.report(explained=1).path.is_file()
    about = json.loads((distilled / "localizer.json").read_text())
    assert about["model"] and about["taps"][0] == "backbone" and str(distilled) not in json.dumps(about)


def test_a_pruned_run_keeps_it(distilled):
    opened = protomask.open_run(distilled, progress=False)
    pruned = opened.prune([0], output=distilled.parent / "pruned")
    assert (
        pruned.localizers("distilled")["distilled"].opened().taps
        == opened.localizers("distilled")["distilled"].opened().taps
    )


@pytest.mark.parametrize("words, says", [(["--steps", "-1"], "--steps is -1"), (["--teacher", "rise"], "is no MDM")])
def test_bad_words(distilled, words, says, capsys):
    assert main(["distill", str(distilled), *words, "--quiet"]) == 2
    assert says in capsys.readouterr().err
