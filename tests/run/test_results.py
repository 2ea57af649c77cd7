"""What a run answers, saved by several at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from protomask.errors import InputError
from protomask.lock import locked
from protomask.run.results import Explanations


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
