"""The commands as a user runs them, on a folder of small pictures."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from protomask.cli import main
from protomask.errors import InputError
from protomask.files import PARTIAL
from protomask.json_files import read_json
from protomask.lock import locked
from protomask.run.opened import open_run
from protomask.run.results import Prototypes
from protomask.run_folder import RunFolder
from tests.distributed.jobs import kill_group
from tests.end_to_end.conftest import SMALL


def test_a_run_leaves_everything_behind(run):
    for name in (
        "config.json",
        "model.safetensors",
        "model.json",
        "log.jsonl",
        "metrics.json",
        "prototypes.json",
        "evaluation.json",
        "report.html",
    ):
        assert (run / name).stat().st_size > 0, name
    metrics = run.read("metrics.json")
    assert set(metrics["test_accuracy"]) == {"before_projection", "after_projection", "final"}
    assert 0 <= metrics["black_box_accuracy"] <= 1
    assert {"joint", "projection", "pictures", "evaluation"} <= set(metrics["seconds"])
    config = run.read("config.json")
    assert config["options"]["epochs"] == 2 and config["data"]["test"] == 12 and "torch" in config["versions"]
    prototypes = run.read("prototypes.json")
    assert len(prototypes) == 6
    for number, row in enumerate(prototypes):
        assert (
            row["prototype"] == number
            and row["class_name"] in row["source"]
            and set(row["boxes"]) == {"mdm", "similarity"}
        )
        assert row["similarity"] > 0.98
        assert (run / "prototypes" / f"{number:04d}.png").exists()
    rows = run.read("evaluation.json")["rows"]
    assert {row["localizer"] for row in rows} == {"mdm", "similarity", "center", "random"}
    assert {"insertion", "deletion"} <= {row["metric"] for row in rows}
    assert not list(run.folder.rglob("*.part"))


def test_evaluate_prints_a_table_of_what_was_asked(run, capsys):
    words = [
        "evaluate",
        str(run.folder),
        "--localizers",
        "similarity,random",
        "--metrics",
        "deletion",
        "--samples",
        "4",
        "--quiet",
    ]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "similarity" in table and "random" in table and "deletion" in table and "mdm" not in table
    assert (run / "evaluation.csv").read_text().startswith("localizer,metric,mean") and "| deletion" in (
        run / "evaluation.md"
    ).read_text()
    before = run.read("evaluation.json")
    kept = {file: file.stat().st_mtime_ns for file in (run / "evaluation").rglob("*.safetensors")}
    assert main(words) == 0 and run.read("evaluation.json") == before  # the very seconds: nothing was localised again
    assert kept == {file: file.stat().st_mtime_ns for file in (run / "evaluation").rglob("*.safetensors")}


def test_evaluate_looks_at_the_source_images_and_at_each_class(run, capsys):
    words = [
        "evaluate",
        str(run.folder),
        "--on",
        "sources",
        "--per-class",
        "--localizers",
        "center",
        "--metrics",
        "gain,insertion",
        "--quiet",
    ]
    assert main(words) == 0
    printed, content = capsys.readouterr().out, run.read("evaluation_sources.json")
    sources = [row["source"] for row in run.read("prototypes.json")]
    assert [sources[prototype] for prototype in content["pairs"]["prototypes"]] == content["names"]
    assert "colour 1" in printed and len((run / "evaluation_sources_classes.csv").read_text().splitlines()) == 1 + 3 * 2


def test_evaluate_names_what_cannot_be(run, capsys):
    for words, told in (
        (["--localizers", "oracle"], "oracle"),
        (["--metrics", "top_part"], "top_part"),
        (["--seed", "-1"], "--seed"),
    ):
        assert main(["evaluate", str(run.folder), *words, "--quiet"]) == 2
        error = capsys.readouterr().err.strip()
        assert told in error and len(error.splitlines()) == 1


def test_explain_prints_reasons_that_sum_to_the_logit(run, folder, tmp_path, capsys):
    pictures = [str(path) for path in sorted((folder / "test").rglob("*.png"))[:2]]
    assert main(["explain", str(run.folder), *pictures, "--json", "--output", str(tmp_path), "--quiet"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == pictures
    for line in lines:
        assert sum(match["points"] for match in line["matches"]) + line["other_points"] == pytest.approx(
            line["logit"], abs=1e-4
        )
    assert [line["panel"] for line in lines] == [str(path) for path in sorted(tmp_path.glob("*.png"))]


def test_panels_among_the_pictures_are_not_explained_again(run, folder, tmp_path, capsys):
    shutil.copy(next((folder / "test").rglob("*.png")), tmp_path / "a.png")
    for said in ("", f"protomask: 1 of {tmp_path}, written by protomask, is left out"):
        words = [str(tmp_path), "--output", str(tmp_path), "--localizer", "similarity", "--quiet"]
        assert main(["explain", str(run.folder), *words]) == 0
        assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a-2.png", "panels.json", ".lock"}


def test_panels_of_pictures_with_the_same_name_stay_beside_each_other(run, folder, tmp_path, capsys):
    first, second = (tmp_path / kind / "a.png" for kind in ("one", "two"))
    for target, source in zip((first, second), sorted((folder / "test").rglob("*.png"))):
        target.parent.mkdir()
        shutil.copy(source, target)
    panels = tmp_path / "panels"
    words = ["--output", str(panels), "--localizer", "similarity", "--quiet"]
    for picture, name in ((first, "a.png"), (second, "a-2.png"), (first, "a.png")):
        assert main(["explain", str(run.folder), str(picture), *words]) == 0
        assert f"panel: {panels / name}" in capsys.readouterr().out
    assert {path.name for path in panels.iterdir()} == {"a.png", "a-2.png", "panels.json", ".lock"}
    (panels / "panels.json").write_text("[1]", encoding="utf-8")
    assert main(["explain", str(run.folder), str(first), *words]) == 2
    assert "panels.json is damaged" in capsys.readouterr().err


@contextmanager
def at_work_in(folder):
    """Another thread holds the folder."""
    holding, done = threading.Event(), threading.Event()

    def hold():
        with locked(folder):
            holding.set()
            done.wait(300)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        assert holding.wait(60)
        try:
            yield
        finally:
            done.set()


def test_a_folder_of_panels_is_one_calls_at_a_time(run, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("protomask.run.results._PATIENCE", 0.1)
    pictures, panels = [str(path) for path in sorted((folder / "test").rglob("*.png"))[:2]], tmp_path / "panels"
    words = ["explain", str(run.folder), *pictures, "--localizer", "similarity", "--quiet", "--output", str(panels)]
    opened = open_run(run.folder, progress=False)
    found, prototypes = opened.explain(pictures, localizer="similarity"), Prototypes(opened.pictures)
    with at_work_in(panels):
        assert main(words) == 2
        said = capsys.readouterr()
        assert f"is at work in {panels}; wait" in said.err and not said.out
        for each in (found, prototypes):
            with pytest.raises(InputError, match="is at work in"):
                each.save(panels)
        assert [path.name for path in panels.iterdir()] == [".lock"]
    assert main(words) == 0
    assert set(found.save(panels)) == set(panels.glob("*.png")) == {panels / Path(each).name for each in pictures}
    own = ["explain", str(run.folder), pictures[0], "--localizer", "similarity", "--quiet"]
    with at_work_in(run / "explanations"):
        assert main(own) == 2
    half = run / "explanations" / f".0123{PARTIAL}"
    half.write_text("half")
    assert main(own) == 0 and not half.exists()
    (tmp_path / "file").write_text("")
    assert main([*own, "--output", str(tmp_path / "file")]) == 2
    assert f"--output {tmp_path / 'file'} is a file; give a folder" in capsys.readouterr().err


def test_whose_a_panel_is_is_kept_before_it_is_drawn(run, folder, tmp_path, monkeypatch):
    """A call that is killed leaves no panel that the same call would draw a second time beside it."""
    pictures, seen = [str(path) for path in sorted((folder / "test").rglob("*.png"))[:2]], []
    monkeypatch.setattr(
        "protomask.run.results.save_panel",
        lambda explanation, path: seen.append(read_json(tmp_path / "panels.json")["panels"].get(path.stem)),
    )
    words = [*pictures, "--localizer", "similarity", "--quiet", "--output", str(tmp_path)]
    assert main(["explain", str(run.folder), *words]) == 0
    assert seen == pictures


def test_project_and_report_can_be_done_again(run, capsys):
    (run / "report.html").unlink()
    assert main(["project", str(run.folder), "--localizer", "center", "--quiet"]) == 0
    assert set(run.read("prototypes.json")[0]["boxes"]) == {"center", "similarity"}
    assert main(["report", str(run.folder), "--quiet"]) == 0
    assert (run / "report.html").exists()


def test_the_same_seed_gives_the_same_metrics(run, folder, tmp_path):
    words = ["train", "--config", str(run / "config.json"), "--output", str(tmp_path / "again"), "--quiet"]
    assert main([*words, "--localizer", "center", "--samples", "1"]) == 0  # no metric depends on them
    again = RunFolder(tmp_path / "again").read("metrics.json")
    first = run.read("metrics.json")
    for metrics in (first, again):
        metrics.pop("seconds")
    assert first == again


def test_an_interrupted_run_resumes(folder, tmp_path):
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    if not numbers:
        pytest.skip("signals are ignored here, as in a job in the background, and so by what is started from here")
    output = tmp_path / "run"
    words = ["train", "--data", "folder", "--root", str(folder), "--output", str(output), *SMALL]
    words[words.index("--epochs") + 1] = "16"
    words += ["--localizer", "center", "--samples", "1"]  # pictures and evaluation come after what is looked at here
    done = 0
    for number in numbers:  # the second process goes on where the first one was interrupted
        command = [sys.executable, "-m", "protomask", *words, *(["--resume"] if done else [])]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            deadline = time.time() + 600
            while rows_of(output) <= done and process.poll() is None and time.time() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            _, errors = process.communicate(timeout=600)
        finally:
            kill_group(process)
        assert process.returncode == 130, errors
        assert "interrupted" in errors and "--resume" in errors and "Traceback" not in errors
        done = rows_of(output)
    assert main([*words, "--resume"]) == 0
    rows = RunFolder(output).read("log.jsonl")
    epochs = {name: [row["epoch"] for row in rows if row["stage"] == name] for name in ("joint", "settle")}
    assert len(rows) > done and sum(map(len, epochs.values())) == 16
    assert all(found == list(range(1, len(found) + 1)) for found in epochs.values())


def rows_of(output):
    """How many rows the log of a run has, that may not have begun."""
    return len(RunFolder(output).read("log.jsonl")) if (output / "log.jsonl").exists() else 0


def test_resuming_what_is_done_makes_only_what_is_missing(run, tmp_path, capsys):
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.folder, copy.folder)
    kept = {name: (copy / name).stat().st_mtime_ns for name in ("prototypes.json", "evaluation.json")}
    (copy / "report.html").unlink()
    words = ["train", "--output", str(copy.folder), "--quiet", "--resume"]
    assert main(words) == 0
    assert (copy / "report.html").exists()
    assert kept == {name: (copy / name).stat().st_mtime_ns for name in kept}
    assert copy.read("metrics.json")["seconds"].keys() == run.read("metrics.json")["seconds"].keys()
    assert main([*words, "--epochs", "9"]) == 2
    assert "started with 2 for --epochs, not 9" in capsys.readouterr().err


def test_audit_prints_a_table_and_a_verdict_and_writes_a_page(run, capsys):
    assert main(["audit", str(run.folder), "--localizer", "similarity", "--samples", "3", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "weights shuffled" in printed.out and "evaluate answers" in printed.out and "audit.html" in printed.err
    assert len(run.read("audit.json")["rows"]) == 5 and run.has("audit.html")
    assert main(["report", str(run.folder), "--explained", "0", "--quiet"]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'href="#audit"' in page and "weights shuffled" in page and run.read("audit.json")["verdict"][:40] in page
    assert main(["audit", str(run.folder), "--samples", "0", "--quiet"]) == 2
    assert "--samples" in capsys.readouterr().err
