"""One process at a time writes into a run; the system lets go of the lock with the process."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protomask.errors import InputError
from protomask.files import PARTIAL
from protomask.json_files import write_json
from protomask.lock import locked
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import save_checkpoint
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


@pytest.fixture
def other_thread():
    """Run something in another thread, and give what it gives or raises."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda work: pool.submit(work).result(timeout=60)


def lock(folder, **more):
    with locked(folder, **more):
        return "locked"


def ask_another_process(folder):
    code = (
        "import sys; from pathlib import Path; from protomask.lock import locked\nwith locked(Path(sys.argv[1])): pass"
    )
    words = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, env=child_environment(), timeout=120)


def test_threads_of_one_process_keep_each_other_out_and_its_lock_stays(tmp_path, other_thread):
    run, link = tmp_path / "run", tmp_path / "link"
    link.symlink_to(run)
    with locked(run):
        half = run / f".0123{PARTIAL}"
        half.write_text("half")
        for folder in (run, link, tmp_path / "link" / ".." / "run"):
            with pytest.raises(
                InputError, match=f"process {os.getpid()} on .* is at work in .*; wait until it is done"
            ):
                other_thread(lambda folder=folder: lock(folder))
        assert other_thread(lambda: lock(run / "below")) == other_thread(lambda: lock(run, name=".x")) == "locked"
        assert half.exists()
        assert f"process {os.getpid()}" in ask_another_process(run).stderr
    assert other_thread(lambda: lock(run)) == "locked" and not half.exists()
    assert ask_another_process(run).returncode == 0


def test_a_thread_waits_as_long_as_it_is_said_to(tmp_path, other_thread):
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path):
            waiting = pool.submit(lock, tmp_path, patience=60)
            with pytest.raises(InputError, match="is at work"):
                other_thread(lambda: lock(tmp_path, patience=0.1))
            assert not waiting.done()
        assert waiting.result(timeout=60) == "locked"


def test_a_thread_locks_what_it_holds_again_and_lets_go_at_the_end(tmp_path, other_thread):
    with locked(tmp_path):
        half = tmp_path / f".0123{PARTIAL}"
        half.write_text("half")
        assert lock(tmp_path) == "locked" and half.exists()
        with pytest.raises(InputError, match="is at work"):
            other_thread(lambda: lock(tmp_path))
        assert f"process {os.getpid()}" in ask_another_process(tmp_path).stderr
    assert other_thread(lambda: lock(tmp_path)) == "locked"


def test_the_last_to_leave_lets_go_in_whatever_order(tmp_path, other_thread):
    outer, inner = locked(tmp_path), locked(tmp_path)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    with pytest.raises(InputError, match="is at work"):
        other_thread(lambda: lock(tmp_path))
    assert f"process {os.getpid()}" in ask_another_process(tmp_path).stderr
    inner.__exit__(None, None, None)
    assert other_thread(lambda: lock(tmp_path)) == "locked" and ask_another_process(tmp_path).returncode == 0


def without_locks(*words):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("system", ["no fcntl", "no locks"])
def test_where_the_system_locks_nothing_threads_are_kept_out_and_nothing_is_removed(
    tmp_path, other_thread, monkeypatch, system
):
    if system == "no fcntl":
        monkeypatch.setattr("protomask.lock.fcntl", None)
    else:
        monkeypatch.setattr("protomask.lock.fcntl.lockf", without_locks)
    run, link = tmp_path / "run", tmp_path / "link"
    link.symlink_to(run)
    with locked(run):
        half = run / f".0123{PARTIAL}"
        half.write_text("half")
        assert lock(run) == lock(link) == "locked"
        for folder in (run, link):
            with pytest.raises(InputError, match="another thread of process"):
                other_thread(lambda folder=folder: lock(folder))
        assert other_thread(lambda: lock(run, name=".x")) == "locked"
    assert other_thread(lambda: lock(run)) == "locked" and half.exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells what is open")
def test_a_lock_that_fails_leaves_nothing_open(tmp_path, monkeypatch):
    def opened():
        return sorted(os.path.realpath(each.path) for each in os.scandir("/proc/self/fd"))

    def broken(*words):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("protomask.lock._lock", broken)
        with pytest.raises(InputError, match="cannot write to .*: Input/output error"):
            lock(tmp_path)
    assert str(tmp_path / ".lock") not in opened() and lock(tmp_path) == "locked"


def test_a_folder_that_may_be_anybodys_is_locked_and_not_swept(tmp_path):
    half = tmp_path / f".0123{PARTIAL}"
    half.write_text("half")
    assert lock(tmp_path, sweep=False) == "locked" and half.exists()
    assert lock(tmp_path) == "locked" and not half.exists()


@pytest.mark.parametrize("how", ["moved", "moved, and another one there", "deleted", "a file system without locks"])
def test_nothing_is_written_where_the_locked_folder_was(tmp_path, monkeypatch, how):
    run, moved = tmp_path / "run", tmp_path / "moved"
    if how == "a file system without locks":
        monkeypatch.setattr("protomask.lock.fcntl.lockf", without_locks)
    with locked(run):
        write_json(run / "below" / "one.json", {})
        (run / ".lock").unlink()  # by somebody who tidies up: the folder is the same
        write_json(run / "two.json", {})
        run.rename(moved)
        if how == "deleted":
            shutil.rmtree(moved)
        if how == "moved, and another one there":
            (run / "below").mkdir(parents=True)
            (run / ".lock").write_text("")
        for write in (
            lambda: write_json(run / "below" / "one.json", {}),
            lambda: RunFolder(run).write("two.json", {}),
            lambda: save_checkpoint(run / "checkpoint" / "state.pt", {}),
        ):
            with pytest.raises(InputError, match=f"the folder {run} is no longer the one .*; put it back") as error:
                write()
            assert "\n" not in str(error.value)
        write_json(tmp_path / "elsewhere.json", {})
    assert sorted(path.name for path in run.rglob("*")) == ([".lock", "below"] if "another" in how else [])
    assert lock(run) == "locked"


def test_a_folder_above_a_link_is_the_one_that_the_system_finds(tmp_path, monkeypatch):
    """``link/..`` is not where the link stands: the folder that is locked is there, and nothing of it has moved."""
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "data").symlink_to(tmp_path / "disk" / "data")
    monkeypatch.chdir(tmp_path / "home")
    for run in (Path("data/../run"), tmp_path / "home" / "data" / ".." / "run"):
        with locked(run):
            write_json(run / "one.json", {})
            (tmp_path / "disk" / "run").rename(tmp_path / "disk" / "moved")
            with pytest.raises(InputError, match="is no longer the one"):
                write_json(run / "one.json", {})
            (tmp_path / "disk" / "moved").rename(tmp_path / "disk" / "run")
    assert (tmp_path / "disk" / "run" / "one.json").exists() and not (tmp_path / "home" / "run").exists()


@pytest.mark.parametrize("own", ["of my job scheduler\n", "process 1 of 8\n"])
def test_a_file_of_somebody_s_own_that_is_called_so_stays_as_it_is(tmp_path, own):
    (tmp_path / ".lock").write_text(own)
    mode = (tmp_path / ".lock").stat().st_mode
    tmp_path.chmod(0o777)
    with locked(tmp_path, sweep=False):
        assert f"another process is at work in {tmp_path}" in ask_another_process(tmp_path).stderr
    assert (tmp_path / ".lock").read_text() == own and (tmp_path / ".lock").stat().st_mode == mode


@pytest.mark.parametrize(
    "umask, folder, lock_file",
    [
        (0o022, 0o755, 0o644),
        (0o022, 0o2775, 0o664),
        (0o077, 0o770, 0o660),
        (0o022, 0o777, 0o666),
        (0o077, 0o700, 0o600),
    ],
)
def test_whoever_may_write_into_the_folder_may_lock_it(tmp_path, umask, folder, lock_file):
    before = os.umask(umask)
    try:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(folder)
        assert lock(tmp_path / "shared") == "locked"
    finally:
        os.umask(before)
    assert (tmp_path / "shared" / ".lock").stat().st_mode & 0o777 == lock_file


def of_another_user(monkeypatch, readable=True):
    """Files that are called ``.lock`` can be read alone, as another user's in a shared folder, or not even so."""
    opened = os.open

    def refused(path, flags, *more):
        if Path(path).name == ".lock" and (flags & os.O_RDWR or not readable):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *more)

    monkeypatch.setattr("protomask.lock.os.open", refused)


def in_a_fork(work):
    """Tell what InputError something ends in, in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except InputError as error:
            said = str(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such files keep nobody out of the same user's")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_user_s_lock_is_locked_for_reading(tmp_path, other_thread, monkeypatch):
    (tmp_path / ".lock").write_text("process 1 on another machine")
    of_another_user(monkeypatch)
    with locked(tmp_path):
        assert "another process is at work in" in ask_another_process(tmp_path).stderr  # it may write the file
        assert "another process is at work in" in in_a_fork(lambda: lock(tmp_path))  # it may not
        with pytest.raises(InputError, match="another thread of"):
            other_thread(lambda: lock(tmp_path))
    assert ask_another_process(tmp_path).returncode == 0 and in_a_fork(lambda: lock(tmp_path)) == "locked"


def test_whoever_has_the_lock_is_named_to_another_user(holder, tmp_path, monkeypatch):
    of_another_user(monkeypatch)
    with pytest.raises(InputError, match=f"process {holder.pid} on .* is at work in"):
        lock(tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="tells what a forked process keeps")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_keep_another_user_s_lock(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")
    of_another_user(monkeypatch)
    reading, writing = os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
    try:
        assert in_a_fork(lambda: lock(tmp_path)) == "locked"
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_lock_that_cannot_even_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")
    of_another_user(monkeypatch, readable=False)
    with pytest.raises(InputError, match=rf"^{tmp_path}/.lock is another user's, and cannot be read; remove it"):
        lock(tmp_path)
    monkeypatch.setattr("protomask.lock.os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="^cannot write to .*: Permission denied; make it writable"):
        lock(tmp_path)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_holds_nothing(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                lock(tmp_path)
            except InputError as error:
                code = 0 if f"process {os.getppid()}" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert f"process {os.getpid()}" in ask_another_process(tmp_path).stderr


def test_what_another_command_writes_in_a_run_below_stays(tmp_path):
    halves = [tmp_path / name / f".0123{PARTIAL}" for name in ("run", "run/deeper", "plain")]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_text("half")
    (tmp_path / "run" / ".lock").write_text("")
    assert lock(tmp_path) == "locked"
    assert [half.exists() for half in halves] == [True, True, False]


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
