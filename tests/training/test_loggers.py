"""The log for TensorBoard, Weights & Biases and MLflow: each row once, also over interruptions; by the packages where
they are installed, and by small ones that record what they are asked."""

import json
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from protomask.cli import main
from protomask.errors import InputError
from protomask.run_folder import RunFolder
from protomask.training.loggers import FILE, Loggers, logger_names
from tests.end_to_end.conftest import write_folder

ROWS = [
    {"stage": "joint", "epoch": 1, "loss": 2.0, "train_accuracy": 0.5, "seconds": 1.0},
    {"stage": "joint", "epoch": 2, "loss": 1.5, "train_accuracy": 0.6, "seconds": 1.0},
    {"stage": "test at the end", "test_accuracy": 0.7, "per_class": {"a": {}}, "seconds": 0.1},
]
WANDB = """
import json, pathlib
class errors:
    class Error(Exception): pass
def Settings(**settings): return settings
class Run:
    def __init__(self, **words): self.tell("init", words)
    def tell(self, *words):
        with open(pathlib.Path(__file__).parent / "wandb.jsonl", "a") as file: file.write(json.dumps(words) + "\\n")
    def log(self, values, step): self.tell("log", values, step)
    def finish(self, exit_code): self.tell("finish", exit_code)
def init(**words): return Run(**words)
"""
MLFLOW = """
import json, pathlib
from types import SimpleNamespace as Space
class exceptions:
    class MlflowException(Exception): pass
def get_tracking_uri(): return "sqlite:///here.db"
class MlflowClient:
    def __init__(self, tracking_uri): self.tell("at", tracking_uri)
    def tell(self, *words):
        with open(pathlib.Path(__file__).parent / "mlflow.jsonl", "a") as file: file.write(json.dumps(words) + "\\n")
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "7"
    def create_run(self, experiment_id, run_name):
        self.tell("run", experiment_id, run_name)
        return Space(info=Space(run_id="r1"))
    def log_param(self, run_id, key, value): self.tell("param", run_id, key, value)
    def log_metric(self, run_id, key, value, step): self.tell("metric", run_id, key, value, step)
    def update_run(self, run_id, status): self.tell("update", run_id, status)
    def set_terminated(self, run_id, status): self.tell("end", run_id, status)
"""


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Packages that record what they are asked, in place of wandb and mlflow; gives what they recorded."""
    for name, text in {"wandb": WANDB, "mlflow": MLFLOW}.items():
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield lambda name: [json.loads(line) for line in (tmp_path / "site" / f"{name}.jsonl").read_text().splitlines()]
    for name in ("wandb", "mlflow"):
        sys.modules.pop(name, None)


def log_twice(folder: Path, names):
    """A training that is interrupted after its second row, and resumed without asking for the records again."""
    with pytest.raises(KeyboardInterrupt), Loggers(folder, names, {"epochs": 2, "root": None}) as loggers:
        loggers(ROWS[:1])
        loggers(ROWS[:2])
        raise KeyboardInterrupt
    with Loggers(folder, [], {"epochs": 2}, RunFolder(folder).read(FILE)) as loggers:
        loggers(ROWS[:2])  # as a checkpoint that is older than the record gives them again
        loggers(ROWS)


def test_tensorboard_has_every_number_once_at_its_epoch(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_twice(tmp_path, ["tensorboard"])
    reader = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert [(each.step, each.value) for each in reader.Scalars("joint/loss")] == [(1, 2.0), (2, 1.5)]
    assert [(each.step, round(each.value, 4)) for each in reader.Scalars("test_at_the_end/test_accuracy")] == [(3, 0.7)]
    assert len(reader.Tags()["scalars"]) == 5


def test_wandb_goes_on_with_the_same_run(tmp_path, recorded):
    folder = tmp_path / "birds"
    folder.mkdir()
    log_twice(folder, ["wandb"])
    told = recorded("wandb")
    first, second = (words for kind, words, *_ in told if kind == "init")
    assert first["id"] == second["id"] == json.loads((folder / FILE).read_text())["wandb"]["id"]
    assert (first["project"], first["name"], first["resume"], first["dir"]) == (
        "protomask",
        "birds",
        "allow",
        str(folder),
    )
    assert first["config"] == {"epochs": 2}
    logged = [(step, values) for kind, values, *rest in told if kind == "log" for step in rest]
    assert [step for step, _ in logged] == [1, 2, 3]
    assert logged[1][1] == {"joint/loss": 1.5, "joint/train_accuracy": 0.6, "joint/seconds": 1.0}
    assert [code for kind, code, *_ in told if kind == "finish"] == [1, 0]


def test_mlflow_goes_on_with_the_same_run(tmp_path, recorded):
    folder = tmp_path / "birds"
    folder.mkdir()
    log_twice(folder, ["mlflow"])
    told = recorded("mlflow")
    assert [words for words in told if words[0] == "run"] == [["run", "7", "birds"]]
    assert [words[1] for words in told if words[0] == "at"] == ["sqlite:///here.db"] * 2
    assert ["param", "r1", "epochs", 2] in told and ["update", "r1", "RUNNING"] in told
    losses = [words[3:] for words in told if words[:3] == ["metric", "r1", "joint/loss"]]
    assert losses == [[2.0, 1], [1.5, 2]]
    assert [words[2] for words in told if words[0] == "end"] == ["KILLED", "FINISHED"]


def test_wandb_itself_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_twice(tmp_path, ["wandb"])
    number = json.loads((tmp_path / FILE).read_text())["wandb"]["id"]
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.parent for file in files}) in (1, 2) and {file.name for file in files} == {f"run-{number}.wandb"}
    content = b"".join(file.read_bytes() for file in files)
    assert b"joint/loss" in content and b"test_at_the_end/test_accuracy" in content


def test_mlflow_itself_in_files(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    address = (tmp_path / "records").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    log_twice(tmp_path, ["mlflow"])
    found = json.loads((tmp_path / FILE).read_text())["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=address)
    history = client.get_metric_history(found["id"], "joint/loss")
    assert [(each.step, each.value) for each in history] == [(1, 2.0), (2, 1.5)]
    run = client.get_run(found["id"])
    assert run.info.status == "FINISHED" and run.data.params["epochs"] == "2"
    (experiment,) = [each for each in client.search_experiments() if each.name == "protomask"]
    assert run.info.experiment_id == experiment.experiment_id


def test_a_record_that_is_not_taken_stops_no_training_and_is_given_again(tmp_path, recorded, caplog):
    with Loggers(tmp_path, ["wandb"], {}) as loggers:
        run = loggers._open["wandb"]
        write, run.write = run.write, lambda *words: 1 / 0
        loggers(ROWS[:1])
        run.write = write
        loggers(ROWS[:2])
    assert "wandb does not take the log (division by zero); tried again later" in caplog.text
    assert [words[2] for words in recorded("wandb") if words[0] == "log"] == [1, 2]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_is_down_refuses_a_new_training_and_stops_no_resumed_one(
    tmp_path, recorded, caplog, monkeypatch, name
):
    with Loggers(tmp_path, [name], {}) as loggers:
        loggers(ROWS[:1])
    package = sys.modules[name]

    def down(*given, **words):
        raise (package.errors.Error if name == "wandb" else package.exceptions.MlflowException)("no answer")

    known = RunFolder(tmp_path).read(FILE)
    place, calls = (package, ["init"]) if name == "wandb" else (package.MlflowClient, ["update_run", "create_run"])
    with monkeypatch.context() as patch, Loggers(tmp_path, [], {}, known) as loggers:
        for call in calls:
            patch.setattr(place, call, down)
        with pytest.raises(InputError, match=f"{name} does not start"):
            Loggers(tmp_path / "new", [name], {})
        loggers(ROWS[:1])  # nothing new to tell: nothing is asked
        assert not caplog.text
        loggers(ROWS[:2])
        loggers(ROWS[:2])
        (said,) = caplog.records
        assert f"{name} does not start" in said.getMessage() and said.getMessage().endswith("tried again later")
        assert RunFolder(tmp_path).read(FILE) == known
        patch.undo()
        loggers(ROWS)
    assert RunFolder(tmp_path).read(FILE)[name]["rows"] == 3 and len(caplog.records) == 1
    told = recorded(name)
    losses = [words[1]["joint/loss"] for words in told if words[0] == "log" and "joint/loss" in words[1]]
    losses += [words[3] for words in told if words[0] == "metric" and words[2] == "joint/loss"]
    assert losses == [2.0, 1.5]  # each once


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_recovers_where_its_folder_was_gone(tmp_path, caplog):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rows = [{"stage": "joint", "epoch": epoch, "loss": float(epoch)} for epoch in range(1, 6)]
    with Loggers(tmp_path, ["tensorboard"], {}) as loggers:
        loggers(rows[:1])
        shutil.rmtree(tmp_path / "tensorboard")
        for number in range(2, 6):
            loggers(rows[:number])
    assert "tried again later" in caplog.text and "does not end" not in caplog.text
    reader = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert [each.step for each in reader.Scalars("joint/loss")][-3:] == [3, 4, 5]
    assert RunFolder(tmp_path).read(FILE)["tensorboard"]["rows"] == 5


def test_a_record_that_fails_is_closed_and_opened_anew_and_loses_no_row(tmp_path, recorded):
    with Loggers(tmp_path, ["wandb"], {}) as loggers:
        first = loggers._open["wandb"]
        loggers(ROWS[:1])
        first.write = lambda *words: 1 / 0
        loggers(ROWS[:2])
        assert RunFolder(tmp_path).read(FILE)["wandb"]["rows"] == 1
        loggers(ROWS)
    told = recorded("wandb")
    assert [words[0] for words in told] == ["init", "log", "finish", "init", "log", "log", "finish"]
    assert [words[2] for words in told if words[0] == "log"] == [1, 2, 3] and told[0][1]["id"] == told[3][1]["id"]


def refuse(loggers, name):
    """Let a record take nothing more, until it is opened anew."""
    loggers._open[name].write = lambda *words: 1 / 0


@pytest.mark.parametrize("name, kind, ends", [("wandb", "finish", [0, 0]), ("mlflow", "end", ["FINISHED"] * 2)])
def test_a_last_row_that_is_not_taken_is_given_at_the_end_of_a_training_that_finished(
    tmp_path, recorded, caplog, name, kind, ends
):
    with Loggers(tmp_path, [name], {}) as loggers:
        loggers(ROWS[:2])
        refuse(loggers, name)
        loggers(ROWS)
        assert RunFolder(tmp_path).read(FILE)[name]["rows"] == 2
    assert [words[-1] for words in recorded(name) if words[0] == kind] == ends
    assert RunFolder(tmp_path).read(FILE)[name]["rows"] == 3 and len(caplog.records) == 1


@pytest.mark.parametrize("error, status", [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_record_that_takes_nothing_more_ends_as_the_training_did(
    tmp_path, recorded, caplog, monkeypatch, error, status
):
    def train():
        with Loggers(tmp_path, ["mlflow"], {}) as loggers:
            loggers(ROWS[:2])
            monkeypatch.setattr(sys.modules["mlflow"].MlflowClient, "log_metric", lambda *given, **words: 1 / 0)
            loggers(ROWS)
            if error:
                raise error

    with pytest.raises(error) if error else nullcontext():
        train()
    assert {words[2] for words in recorded("mlflow") if words[0] == "end"} == {status}
    assert RunFolder(tmp_path).read(FILE)["mlflow"]["rows"] == 2, "a resumed training gives the last one"
    assert ("mlflow lacks the last rows of the log; log.jsonl has them" in caplog.text) == (error is None)


def test_wrong_names_and_missing_packages_are_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="log names 'wandbb'; known: tensorboard, wandb, mlflow; did you mean wandb"):
        logger_names("tensorboard,wandbb")
    with pytest.raises(InputError, match="log names nothing"):
        logger_names(",")
    with pytest.raises(InputError, match="log is 3; give names"):
        logger_names(3)
    assert logger_names(None) == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()  # records of an earlier run are no package
    monkeypatch.setattr(sys, "path", ["", *(place for place in sys.path if not (Path(place) / "wandb").exists())])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert main(["train", "--log", "wandb", "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error == "protomask: error: --log wandb needs the package wandb; install it with: pip install wandb\n"
    assert not (tmp_path / "run").exists()


def test_the_command_logs_and_a_resumed_run_goes_on(tmp_path, recorded):
    write_folder(tmp_path / "pictures", per_class=4)
    words = (
        f"train --data folder --root {tmp_path / 'pictures'} --output {tmp_path / 'run'} --backbone test_resnet --quiet"
    )
    words += " --image-size 32 --epochs 1 --batch-size 8 --prototypes-per-class 1 --prototype-channels 8 --samples 2"
    assert main([*words.split(), "--workers", "0", "--localizer", "center", "--log", "wandb,mlflow"]) == 0
    run = RunFolder(tmp_path / "run")
    rows, state = run.read("log.jsonl"), run.read(FILE)
    assert state["wandb"]["rows"] == state["mlflow"]["rows"] == len(rows)
    assert [words[2] for words in recorded("wandb") if words[0] == "log"] == list(range(1, len(rows) + 1))
    assert ["end", "r1", "FINISHED"] in recorded("mlflow")
    before = len(recorded("wandb"))
    assert main(["train", "--output", str(run.folder), "--resume", "--quiet"]) == 0
    assert len(recorded("wandb")) == before  # nothing is left to do, and nothing is opened
