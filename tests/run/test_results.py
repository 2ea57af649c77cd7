"""What a run answers, saved by several at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import pytest

from protomask.errors import InputError
from protomask.lock import locked
from protomask.run.results import Explanations
from protomask.run_folder import alone_in


@pytest.fixture
def drawn(monkeypatch):
    """Whose each panel is, by its name; a panel takes its time."""
    drawn = {}

    def draw(explanation, path):
        time.sleep(0.1)
        drawn[path.name] = explanation.name
        path.write_text(explanation.name)
        return path

    monkeypatch.setattr("protomask.run.results.save_panel", draw)
    return drawn


def test_threads_that_save_into_one_folder_wait_for_each_other(tmp_path, drawn):
    names = [f"{number}/a.png" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        saved = list(
            pool.map(lambda name: Explanations([SimpleNamespace(name=name, finding=None)]).save(tmp_path), names)
        )
    assert len({path for paths in saved for path in paths}) == len(drawn) == 4
    assert [path.read_text() for paths in saved for path in paths] == names


def test_whoever_waits_in_vain_is_told_by_whom(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr("protomask.run.results._PATIENCE", 0.1)
    with locked(tmp_path), ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="is at work in"):
        pool.submit(Explanations([SimpleNamespace(name="a.png", finding=None)]).save, tmp_path).result(60)
    assert not drawn


def test_whoever_waits_for_a_folder_that_the_first_leaves_empty_makes_it_again(tmp_path):
    inside, folder = Event(), tmp_path / "new"

    def first():
        with alone_in(folder):
            inside.set()
            time.sleep(0.3)
            raise RuntimeError("nothing came to be")

    def second():
        assert inside.wait(60)
        with alone_in(folder, patience=60):
            (folder / "a.txt").write_text("here")

    with ThreadPoolExecutor(2) as pool:
        failing, waiting = pool.submit(first), pool.submit(second)
        waiting.result(60)
        with pytest.raises(RuntimeError, match="nothing came to be"):
            failing.result(60)
    assert (folder / "a.txt").read_text() == "here"
