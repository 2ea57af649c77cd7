"""The process that refines, replaced by one that ends as it pleases."""

import subprocess
import sys

import pytest

from protomask.run.review import Review
from protomask.serve import refining
from protomask.serve.refining import Refining


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Begins "refining" by a program of one's own."""
    monkeypatch.setattr(refining, "PATIENCE", 1.0)

    def begin(program):
        def other(asked):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            return subprocess.Popen([sys.executable, "-c", program], text=True, start_new_session=True, **pipes)

        monkeypatch.setattr(refining, "_begin", other)
        found = Refining()
        found.start(tmp_path / "net", Review(), device="cpu", root=None)
        return found

    return begin


def ended(found):
    found._thread.join(60)
    assert not found.state.running
    return found.state


@pytest.mark.parametrize(
    "program, words",
    [
        (
            "import os; print('{\"sha', end='', flush=True); os.kill(os.getpid(), 9)",
            ("signal 9", "memory may be short"),
        ),
        ("import os; os.kill(os.getpid(), 6)", ("signal 6", "teach again")),
        ("raise SystemExit(3)", ("exit code 3", "teach again")),
    ],
)
def test_a_process_that_ends_by_itself_was_not_stopped(begin, tmp_path, program, words):
    state = ended(begin(program))
    assert state.error is not None and all(each in state.error for each in words)
    assert state.words == "" and state.made is None and list(tmp_path.iterdir()) == []


def test_what_was_stopped_is_no_error_also_where_it_had_to_be_killed(begin, tmp_path):
    found = begin("import time; time.sleep(60)")
    found.stop()
    state = ended(found)
    assert (state.error, state.words, state.made) == (None, "stopped", None) and list(tmp_path.iterdir()) == []
