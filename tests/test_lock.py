"""One process at a time writes into a run; the system lets go of the lock with the process."""

import os
import signal
import subprocess
import sys

import pytest

from protomask.errors import InputError
from protomask.lock import locked
from tests.distributed.jobs import child_environment, kill_group
from tests.end_to_end.conftest import SMALL, write_folder

pytest.importorskip("fcntl")
# The holder starts a process that outlives it, as the processes that load data may for some seconds.
HOLDER = """
import os, sys, time
from pathlib import Path
from protomask.lock import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("locked", flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=child_environment(),
    )
    try:
        assert process.stdout.readline().strip() == "locked"
        yield process
    finally:
        kill_group(process)
        process.stdin.close()
        process.stdout.close()


def test_the_holder_is_named_until_it_is_done(holder, tmp_path):
    with pytest.raises(InputError, match=f"process {holder.pid} on .* is at work in .*run; wait"):
        with locked(tmp_path / "run"):
            pass
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline().strip() == "free"
    with locked(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()


def test_a_killed_holder_holds_nothing_though_its_child_lives(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=30)
    assert (tmp_path / "run" / ".lock").exists()
    with locked(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to .*file"), locked(tmp_path / "file"):
        pass


def test_the_commands_of_a_run_are_refused(holder, tmp_path, capsys):
    from protomask.cli import main

    (tmp_path / "run" / "config.json").write_text("{}")
    for command in ("project", "evaluate", "report"):
        assert main([command, str(tmp_path / "run")]) == 2
        assert f"process {holder.pid}" in capsys.readouterr().err


def test_a_second_training_is_refused_and_writes_nothing(holder, tmp_path, capsys):
    from protomask.cli import main

    root = write_folder(tmp_path / "pictures", 4)
    assert main(["train", "--data", "folder", "--root", str(root), "--output", str(tmp_path / "run"), *SMALL]) == 2
    assert f"process {holder.pid}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
