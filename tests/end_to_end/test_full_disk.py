"""A disk that fills at any moment: one line, and the files are those of before, all of them."""

import errno
import hashlib
import os
import shutil
import stat
from contextlib import contextmanager

import pytest

from protomask import files
from protomask.cli import main
from tests.end_to_end.conftest import CHEAP, copied

resource = pytest.importorskip("resource")
COMMANDS = {name: CHEAP[name] for name in ("evaluate", "report")}


@pytest.fixture
def own(cheap, tmp_path):
    return copied(cheap, tmp_path / "run")


def contents(run):
    """Every file but the lock's, and the cache's, which only saves time."""
    paths = [path for path in sorted(run.folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {
        str(path.relative_to(run.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if run / "evaluation" not in path.parents
    }


@contextmanager
def full_from_the(number: int):
    """The disk is full when file ``number`` (0, 1, ...) is to reach it."""
    done, real = [], os.fsync

    def fsync(descriptor):
        if len(done) >= number and stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(real(descriptor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        yield


@contextmanager
def no_file_beyond(size: int):
    """What is written beyond ``size`` bytes of any file is refused by the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_full_at_every_file(own, command, capsys):
    before, words = contents(own), [word.format(run=own.folder) for word in COMMANDS[command]]
    words += ["--samples", "3"] if command == "evaluate" else []  # whatever is written is new
    for number in range(40):
        with full_from_the(number):
            code = main([*words, "--quiet"])
        said = capsys.readouterr().err.strip()
        assert not list(own.folder.rglob("*.part"))
        if code == 0:
            break
        assert code == 2 and said.splitlines()[-1].startswith("protomask: error: cannot write"), said
        assert "No space left on device" in said and str(own.folder) in said and "Traceback" not in said
        assert contents(own) == before
    assert code == 0 and number >= (3 if command == "evaluate" else 1), (code, number)


@pytest.mark.parametrize("size", [0, 3000, 30_000])
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_full_within_a_file(own, command, size, capsys):
    if command == "evaluate":
        shutil.rmtree(own / "evaluation")
    before = contents(own)
    with no_file_beyond(size):
        code = main([*(word.format(run=own.folder) for word in COMMANDS[command]), "--quiet"])
    said = capsys.readouterr().err.strip()
    assert not list(own.folder.rglob("*.part"))
    if code == 0:
        assert command == "evaluate" and size == 30_000
    else:
        assert code == 2 and "cannot write" in said.splitlines()[-1] and "Traceback" not in said
        assert contents(own) == before
