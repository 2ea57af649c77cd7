import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protomask.cli import main
from protomask.errors import InputError
from protomask.options import Options
from protomask.run_folder import UNFINISHED, RunFolder, free_folder, new_run, read_options
from tests.distributed.jobs import child_environment


@pytest.mark.parametrize(
    "field, value, named",
    [
        ("epochs", 0, "epochs"),
        ("epochs", "3", "epochs"),
        ("image_size", 8, "image_size"),
        ("precision", "fp16", "precision"),
        ("similarity", "dot", "cosine"),
        ("validation", 1.5, "validation"),
        ("seed", True, "seed"),
        ("network", None, "network"),
        ("batch_size", 1, "batch_size"),
    ],
)
def test_wrong_values_name_the_option(field, value, named):
    with pytest.raises(InputError, match=named):
        Options(**{field: value})


def test_weights_and_pretrained_exclude_each_other():
    with pytest.raises(InputError, match="pretrained"):
        Options(weights="file.pth", pretrained=True)


@pytest.mark.parametrize(
    "text, expected",
    [(None, (None, None)), ("half", ((0.5,) * 3, (0.5,) * 3)), ("0,0.1,0.2,1,2,3", ((0, 0.1, 0.2), (1, 2, 3)))],
)
def test_normalization(text, expected):
    assert Options(normalization=text).mean_and_std() == expected


@pytest.mark.parametrize("text", ["grey", "1,2,3", "0,0,0,1,1,0", "a,b,c,d,e,f", "nan,0,0,1,1,1", "0,0,0,1,1,inf"])
def test_wrong_normalization(text):
    with pytest.raises(InputError, match="normalization"):
        Options(normalization=text).mean_and_std()


def test_options_go_through_a_file_and_back(tmp_path):
    options = Options(epochs=7, data="cub", crop=False, weights="a b.safetensors")
    run = RunFolder(tmp_path / "run")
    run.write("config.json", {"options": options.to_mapping(), "versions": {}})
    assert run.options().to_mapping() == options.to_mapping()
    (tmp_path / "flat.json").write_text(json.dumps({"epochs": 7}))
    assert read_options(tmp_path / "flat.json").epochs == 7


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps),
    )
)
def test_any_file_gives_options_or_an_input_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        read_options(path)
    except InputError as error:
        assert "config.json" in str(error)


def test_run_folder_errors(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="config.json"):
        RunFolder.open(tmp_path)
    run = RunFolder(tmp_path)
    run.write("log.jsonl", [{"stage": "joint", "a": 1}, {"stage": "joint", "a": 2}])
    assert run.read("log.jsonl") == [{"stage": "joint", "a": 1}, {"stage": "joint", "a": 2}]
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json is not JSON"):
        run.read("metrics.json")
    with pytest.raises(InputError, match="protomask project"):
        run.read("prototypes.json", needed_by="protomask project")
    assert not list(tmp_path.glob("*.part"))


def test_free_folder(tmp_path):
    assert free_folder(tmp_path, "run").name == "run"
    assert free_folder(tmp_path, "run").name == "run-2"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: free_folder(tmp_path / "many", "run"), range(24)))
    assert len(set(made)) == 24 and all(folder.is_dir() for folder in made)


def test_a_new_run_is_locked_before_the_work_and_gone_where_the_work_fails(tmp_path):
    with new_run(None, tmp_path, "run") as first:
        assert first.folder.is_dir()
        with new_run(None, tmp_path, "run") as second:
            assert second.folder != first.folder
        first.write("config.json", {"options": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    for empty in (True, False):
        with (
            pytest.raises(InputError, match="holds a run already"),
            new_run(str(tmp_path / "run"), tmp_path, "", empty=empty),
        ):
            raise AssertionError("entered")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="exists already"), new_run(str(tmp_path / "notes"), tmp_path, ""):
        raise AssertionError("entered")
    with pytest.raises(ZeroDivisionError), new_run(str(tmp_path / "failed"), tmp_path, ""):
        raise ZeroDivisionError
    for whole in (True, False):
        with pytest.raises(ZeroDivisionError), new_run(str(tmp_path / "half"), tmp_path, "", whole=whole) as half:
            half.write("config.json", {"options": {}})
            (half / "refined").mkdir()
            raise ZeroDivisionError
        assert (tmp_path / "half").exists() is not whole
    shutil.rmtree(tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "run"]
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from protomask.run_folder import new_run
with new_run(sys.argv[1], Path(), "", whole=True) as run:
    run.write("metrics.json", {"seconds": {}})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_command_left_is_no_run_and_said_to_be_none(tmp_path, capsys):
    half = tmp_path / "half"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(half)], env=child_environment(), timeout=120)
    assert killed.returncode == -signal.SIGKILL and (half / "metrics.json").exists()
    said = "half holds an unfinished run; unless the command that makes it is still at work, it was killed: delete"
    for empty in (True, False):
        with pytest.raises(InputError, match=said), new_run(str(half), tmp_path, "", empty=empty, whole=empty):
            raise AssertionError("entered")
    with pytest.raises(InputError, match=said):
        RunFolder.open(half)
    for words in ([], ["--resume"]):
        assert main(["train", "--output", str(half), "--quiet", *words]) == 2
        assert said in capsys.readouterr().err
    shutil.rmtree(half)
    with new_run(str(half), tmp_path, "", whole=True) as run:
        with pytest.raises(InputError, match="is at work in"), ThreadPoolExecutor(1) as pool:
            pool.submit(new_run(str(half), tmp_path, "", whole=True).__enter__).result(timeout=60)
        run.write(UNFINISHED, {"options": {}})
        assert not run.started
    assert RunFolder.open(half).read("config.json") == {"options": {}} and {each.name for each in half.iterdir()} == {
        "config.json",
        ".lock",
    }


@pytest.mark.parametrize("name", ["evaluation", "prototypes", "checkpoint"])
def test_a_run_writes_into_no_folder_that_is_a_link(tmp_path, name):
    run = RunFolder(tmp_path / "run")
    run.write("config.json", {"options": {}})
    (tmp_path / "elsewhere").mkdir()
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name} is a link"), run.lock():
        raise AssertionError("entered")
    (run / name).unlink()
    (run / name).mkdir()
    (run / name / "deeper").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="deeper is a link"), run.lock():
        raise AssertionError("entered")


def test_only_a_new_run_makes_its_folder(tmp_path):
    with pytest.raises(InputError, match="gone is no longer there"), RunFolder(tmp_path / "gone").lock():
        raise AssertionError("entered")
    assert not (tmp_path / "gone").exists()
    with RunFolder(tmp_path / "new").lock(new=True):
        assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_lock_that_is_no_file_is_named(tmp_path, kind):
    victim, lock = tmp_path / "victim", tmp_path / "run" / ".lock"
    victim.write_text("mine")
    lock.parent.mkdir()
    {"link": lambda: lock.symlink_to(victim), "folder": lock.mkdir, "pipe": lambda: os.mkfifo(lock)}[kind]()
    with pytest.raises(InputError, match=r"\.lock is .*; remove it"), RunFolder(lock.parent).lock():
        raise AssertionError("entered")
    assert victim.read_text() == "mine"
