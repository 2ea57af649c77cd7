"""Several seeds: a run each, one table."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import protomask
from protomask import distributed
from protomask.cli import main
from protomask.errors import InputError
from protomask.run import seeds
from protomask.run.seeds import SeedRuns
from tests.run.conftest import SMALL

ONLY = {name: value for name, value in SMALL.items() if name not in ("progress", "samples")}


def test_three_numbers_of_two_runs_are_those_of_the_runs(pictures, tmp_path, capsys):
    options = {**ONLY, "samples": 1}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words = ["train", "--data", "folder", "--root", str(pictures), "--seeds", "3,1", "--output", str(tmp_path), *words]
    assert main([*words, "--quiet"]) == 0
    printed = capsys.readouterr().out
    first, second = (protomask.open_run(tmp_path / f"seed-{seed}") for seed in (3, 1))
    assert (first.options.seed, second.options.seed) == (3, 1)
    assert first.splits.test.names == second.splits.test.names, "the data are split alike"
    rows = {row["measure"]: row for row in json.loads((tmp_path / "seeds.json").read_text())["measures"]}
    values = [each.metrics["test_accuracy"]["after_projection"] for each in (first, second)]
    row = rows["accuracy after projection"]
    assert row["values"] == values and row["mean"] == pytest.approx(sum(values) / 2)
    assert (row["low"], row["high"]) == (min(values), max(values))
    assert (
        "share of points shown" in rows
        and "background prototypes" not in rows
        and "accuracy of the plain classifier" not in rows
    )
    assert printed.splitlines()[0].split() == ["measure", "mean", "range", "seed", "3", "seed", "1"]
    assert f"{values[1]:.3f}" in printed

    written = (first.folder / "evaluation.json").stat().st_mtime_ns
    assert main([*words, "--quiet"]) == 2 and "holds a run already" in capsys.readouterr().err
    assert main([*words, "--quiet", "--resume"]) == 0
    assert written == (first.folder / "evaluation.json").stat().st_mtime_ns, "what is done is not done again"


@pytest.mark.parametrize(
    "more, said",
    [
        (["--seeds", "1,x", "--output", "OUT"], "--seeds is '1,x'"),
        (["--seeds", "", "--output", "OUT"], "--seeds"),
        (["--seeds", "1,1", "--output", "OUT"], "each once"),
        (["--seeds", "1,-1", "--output", "OUT"], "seed"),
        (["--seeds", "1", "--seed", "2", "--output", "OUT"], "both given"),
        (["--seeds", "1,2"], "--output"),
        (
            ["--seeds", "1,2", "--output", "OUT", "--resume"],
            "OUT holds no run to resume (no seed-1/config.json); leave out --resume to start them",
        ),
    ],
)
def test_seeds_that_make_no_sense(more, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *more]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "OUT").exists()


def test_of_several_processes_one_prints_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(seeds.SeedRuns, "table", lambda runs: "the table")
    monkeypatch.setattr(seeds, "train_all", lambda *given, **named: seeds.SeedRuns(tmp_path, (0,), ()))
    for first in (True, False):
        monkeypatch.setattr(distributed, "is_first", lambda first=first: first)
        assert main(["train", "--seeds", "0", "--output", str(tmp_path)]) == 0
        assert bool(capsys.readouterr().out) == first


def test_python_refuses_a_folder_that_is_a_run(in_memory):
    with pytest.raises(InputError, match="itself a run"):
        protomask.train_seeds(seeds=[0], output=in_memory[0].folder)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"seeds": 3}, "seeds is 3; give a list"),
        ({"seeds": "012"}, "seeds is '012'; give a list"),
        ({"seeds": [0, 1.5]}, "a seed is 1.5"),
        ({"seeds": [0, True]}, "a seed is True"),
        ({"seeds": [0], "seed": 1}, "both given"),
        ({"seeds": [0], "classes": ["a"]}, "leave out classes="),
    ],
)
def test_wrong_seeds_in_python_are_one_line(given, said, tmp_path):
    with pytest.raises(InputError, match=said) as error:
        protomask.train_seeds(output=tmp_path / "OUT", **given)
    assert "\n" not in str(error.value) and not (tmp_path / "OUT").exists()


def test_of_findings_the_table_tells_right_answers():
    runs = tuple(
        SimpleNamespace(network=SimpleNamespace(multi_label=findings), metrics={"test_accuracy": {"final": 0.9}})
        for findings in (True, False)
    )
    for run, label in zip(runs, ("right answers over all findings, re-fitted", "accuracy, re-fitted")):
        assert [row["measure"] for row in SeedRuns(Path(), (0,), (run,)).rows()] == [label]
