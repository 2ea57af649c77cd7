"""Several seeds: a run each, one table."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import protomask
from protomask import distributed
from protomask.cli import main
from protomask.errors import InputError
from protomask.run import seeds, training
from protomask.run.seeds import SeedRuns
from protomask.run_folder import RunFolder
from tests.run.conftest import SMALL, Tensors

ONLY = {name: value for name, value in SMALL.items() if name not in ("progress", "samples")}
DATA = Tensors(4), Tensors(2, seed=1)


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

    # Another seed goes on with their data and options, which nobody says again.
    again = ["train", "--output", str(tmp_path), "--resume", "--quiet"]
    assert main([*again, "--seeds", "1,4", "--epochs", "2"]) == 2
    assert "was started with 1 for --epochs, not 2" in capsys.readouterr().err
    assert main([*again, "--seeds", "1,4"]) == 0
    capsys.readouterr()
    third = protomask.open_run(tmp_path / "seed-4")
    assert third.options == first.options.replace(seed=4) and third.splits.test.names == first.splits.test.names
    for more in ([], ["--resume"]):
        assert main(["train", "--output", str(tmp_path), "--quiet", *more]) == 2
        said = "holds runs of several seeds; go on with them by --resume and --seeds 1,3,4, or give another --output"
        assert said in capsys.readouterr().err and not (tmp_path / "config.json").exists()

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


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Runs of seeds 0 and 1 that are begun with Datasets, and what each run is trained with from now on."""
    trained = []
    train_run = seeds.train_run

    def stop_early(options, output, **named):
        trained.append(options)
        return train_run(options, output, **named)

    monkeypatch.setattr(training, "_train", lambda *given: {"seconds": dict.fromkeys(training.PARTS, 0)})
    monkeypatch.setattr(SeedRuns, "rows", lambda runs: [])
    protomask.train_seeds(data=DATA, seeds=[0, 1], output=tmp_path, **ONLY, validation=0)
    monkeypatch.setattr(seeds, "train_run", stop_early)
    return tmp_path, trained


def test_in_python_the_other_seeds_go_on_with_the_same_datasets_and_options(begun):
    folder, trained = begun
    protomask.train_seeds(data=DATA, seeds=[0, 2], output=folder, resume=True, workers=1)
    own = RunFolder(folder / "seed-0").options()
    assert trained[1] == own.replace(seed=2, workers=1) == RunFolder(folder / "seed-2").options()
    for data, more, said in [
        (DATA, {"image_size": 32}, "started with 64 for image_size=, not 32"),
        ((Tensors(4, seed=5), DATA[1]), {}, "the data changed since .*seed-0 was started"),
        ("parts", {}, "are Datasets in memory"),
        ("shortcut", {}, "'datasets' for data=, not 'shortcut'"),
    ]:
        with pytest.raises(InputError, match=said):
            protomask.train_seeds(data=data, seeds=[3], output=folder, resume=True, **more)
        assert not RunFolder(folder / "seed-3").started


def test_seeds_that_had_not_begun_are_logged_as_those_that_had(begun, monkeypatch):
    folder, _ = begun
    RunFolder(folder / "seed-1").write("loggers.json", {"tensorboard": {"rows": 1}})
    logs = []
    monkeypatch.setattr(seeds, "train_run", lambda options, place, *, log, **named: logs.append(log))
    monkeypatch.setattr(
        seeds, "logger_names", lambda given: given.split(",") if isinstance(given, str) else given or []
    )
    for given, told in (
        (None, [None, None, ["tensorboard"]]),
        ("mlflow", ["mlflow"] * 2 + [["mlflow", "tensorboard"]]),
    ):
        protomask.train_seeds(data=DATA, seeds=[0, 1, 2], output=folder, resume=True, log=given)
        assert logs == told
        logs.clear()


def test_further_seeds_are_no_other_training_into_the_same_folder(begun):
    folder, _ = begun
    with pytest.raises(InputError, match="seed-0 holds a run already; go on by resume="):
        protomask.train_seeds(data=DATA, seeds=[5], output=folder, **ONLY, validation=0)
    assert not (folder / "seed-5").exists()


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        (
            "options",
            {"epochs": 3},
            "seed-0 was started with 1 for epochs=, and .*seed-1 with 3, so that they are no runs",
        ),
        ("data", {"fingerprint": "other"}, "seed-1 was started on other data than .*seed-0"),
        ("data", {"weights": "other"}, "seed-1 was started from another file of weights"),
        ("options", {"device": "cuda", "workers": 3}, None),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_make_no_table(begun, part, changes, said):
    folder, trained = begun
    for number, more in ((0, {"weights": "one"} if "weights" in changes else {}), (1, changes)):
        files = RunFolder(folder / f"seed-{number}")
        config = files.read("config.json")
        files.write("config.json", {**config, part: {**config[part], **more}})
    given = {"data": DATA, "seeds": [0, 1, 2], "output": folder, "resume": True, "device": "cpu", "workers": 0}
    if said is None:
        assert protomask.train_seeds(**given).seeds == (0, 1, 2)
    else:
        with pytest.raises(InputError, match=said):
            protomask.train_seeds(**given)
        assert not trained


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
