"""A run whose checkpoint or file of weights is gone goes on with what is there, and shows no network as another."""

import shutil
from pathlib import Path

import pytest
import torch

import protomask
from protomask.backbones import build_backbone
from protomask.errors import InputError
from protomask.run import training
from protomask.run.resuming import put_aside
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import load_checkpoint
from protomask.training.loggers import Loggers
from tests.run.conftest import SMALL, Tensors

DATA = {"data": (Tensors(4), Tensors(2, seed=1)), "classes": ["red", "green", "blue"], "validation": 0}
LEFT = ("model.safetensors", "metrics.json", "prototypes.json", "evaluation.json", "report.html")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run that is done, with its plain classifier, and the file of weights that it began with."""
    place = tmp_path_factory.mktemp("first")
    torch.manual_seed(1)
    torch.save(build_backbone("test_resnet").body.state_dict(), place / "w.pth")
    given = {**SMALL, **DATA, "weights": place / "w.pth", "black_box": True}
    protomask.train(**given, output=place / "run")
    return place, given


@pytest.fixture
def done(first, tmp_path):
    place, given = first
    shutil.copytree(place, tmp_path / "copy")
    return tmp_path / "copy" / "run", given


def contents(folder):
    return {name: (folder / name).read_bytes() for name in LEFT}


def resume(folder, given, **more):
    return protomask.train(**{**given, **more}, output=folder, resume=True)


def test_a_run_that_is_done_needs_no_checkpoint(done, monkeypatch):
    folder, given = done
    shutil.rmtree(folder / "checkpoint")
    before = contents(folder)
    metrics = protomask.open_run(folder).metrics
    monkeypatch.setattr(training, "run_stages", None)
    monkeypatch.setattr(training, "train_black_box", None)
    (folder / "report.html").unlink()
    run = resume(folder, given)
    assert {**run.metrics, "seconds": 0} == {**metrics, "seconds": 0}
    names = [name for name in LEFT if name not in ("metrics.json", "report.html")]
    assert all(contents(folder)[name] == before[name] for name in names) and (folder / "report.html").exists()
    # The log of a run of before does not tell it, its metrics do.
    run.files.write("metrics.json", {**run.metrics, "black_box_accuracy": None, "validation_accuracy": 0.75})
    monkeypatch.setattr(training, "_with_black_box", lambda metrics, *others: metrics)
    assert resume(folder, given).metrics["validation_accuracy"] == 0.75
    (folder / "metrics.json").unlink()  # nor its figures, but for those of the plain classifier
    assert resume(folder, given).metrics["test_accuracy"] == metrics["test_accuracy"]


def test_what_is_trained_anew_stands_beside_nothing_of_the_network_before(done, monkeypatch):
    folder, given = done
    shutil.rmtree(folder / "checkpoint")
    (folder / "model.safetensors").unlink()
    others = ("review.json", "localizer.json", "localizer.safetensors")
    for name in others:
        (folder / name).write_text("{}")
    monkeypatch.setattr(training, "_finish", lambda run, metrics: None)
    metrics = resume(folder, given).metrics
    assert not {"pictures", "evaluation", "report"} & metrics["seconds"].keys()
    assert not any((folder / name).exists() for name in (*LEFT[2:], *others))
    assert all((folder / "earlier" / name).exists() for name in (*LEFT[1:], *others))


def test_records_go_aside_with_the_log_and_new_ones_begin(tmp_path):
    files = RunFolder(tmp_path)
    files.write("log.jsonl", [{"stage": "joint"}])
    files.write("loggers.json", {"tensorboard": {"rows": 1}, "wandb": {"id": "a", "rows": 1}})
    for name in ("tensorboard", "wandb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("")
    before = {path.name for path in tmp_path.iterdir()}
    put_aside(files, but="log.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == before, "they stay with the log"
    put_aside(files)
    assert {path.name for path in tmp_path.iterdir()} == {"earlier", "loggers.json"}
    assert {path.name for path in (tmp_path / "earlier").iterdir()} == before
    assert RunFolder(tmp_path / "earlier").read("loggers.json")["wandb"] == {"id": "a", "rows": 1}
    assert files.read("loggers.json") == {"tensorboard": {"rows": 0}, "wandb": {"rows": 0}}
    put_aside(files)
    assert {path.name for path in tmp_path.iterdir()} == {"earlier", "loggers.json"}, "nothing was begun since"
    with Loggers(tmp_path, [], {}, {"tensorboard": files.read("loggers.json")["tensorboard"]}) as loggers:
        loggers([{"stage": "joint", "epoch": 1, "loss": 1.0}])
    assert files.read("loggers.json")["tensorboard"] == {"rows": 1} and list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("left", ["log.jsonl", "tensorboard", "wandb"])
def test_records_go_aside_though_an_interruption_leaves_some_there(tmp_path, monkeypatch, left):
    files = RunFolder(tmp_path)
    files.write("log.jsonl", [{"stage": "joint"}])
    files.write("loggers.json", {"tensorboard": {"rows": 1}, "wandb": {"id": "a", "rows": 1}})
    for name in ("tensorboard", "wandb"):
        (tmp_path / name).mkdir()
    rename = Path.rename

    def interrupted(path, target):
        if path.name == left:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupted)
        put_aside(files)
    put_aside(files)
    assert {path.name for path in tmp_path.iterdir()} == {"earlier", "earlier-2", "loggers.json"}
    assert files.read("loggers.json") == {"tensorboard": {"rows": 0}, "wandb": {"rows": 0}}


def test_weights_in_the_checkpoint_need_no_file(done, first, monkeypatch):
    folder, given = done
    weights = folder.parent / "w.pth"
    gone = {**given, "weights": first[0] / "w.pth"}
    weights.unlink()
    hidden = first[0] / "w.pth"
    moved = hidden.rename(hidden.with_name("moved.pth"))
    try:
        before = contents(folder)
        resume(folder, gone)
        assert contents(folder)["model.safetensors"] == before["model.safetensors"]
        network = protomask.open_run(folder).network
        assert network.backbone.freeze_norm, "as with the file"
        resume(folder, {**gone, "weights": moved})
        torch.save(torch.load(moved) | {"x": torch.zeros(1)}, folder.parent / "other.pth")
        with pytest.raises(InputError, match="other.pth is not the file that .* was started with"):
            resume(folder, {**gone, "weights": folder.parent / "other.pth"})
        (folder / "metrics.json").unlink()
        for each in (folder / "checkpoint").glob("black_box*"):
            each.unlink()
        with monkeypatch.context() as before_the_training:
            before_the_training.setattr(training, "run_stages", None)
            with pytest.raises(InputError, match="w.pth: no such file, .*give its new place by weights="):
                resume(folder, gone)
        resume(folder, {**gone, "weights": moved})
        assert load_checkpoint(folder / "checkpoint" / "black_box.pt") is not None
    finally:
        moved.rename(hidden)


def test_a_new_run_takes_nothing_of_what_lies_in_its_folder(done, tmp_path):
    folder, given = done
    shutil.rmtree(folder / "checkpoint")
    (folder / "config.json").unlink()
    before = (folder / "log.jsonl").stat().st_mtime_ns
    protomask.train(**given, output=folder)
    assert (folder / "log.jsonl").stat().st_mtime_ns > before and not (folder / "earlier").exists()
