"""Ctrl-C and SIGTERM: the step is finished and kept, and what goes on from there ends as if nothing had been."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from protomask.errors import InputError
from protomask.interruption import HeldSignals, interrupts_insist
from protomask.training import Epochs, loading, train
from protomask.training.checkpoint import load_checkpoint
from protomask.training.loading import check_descriptors
from protopnet.losses import ProtoPNetLoss
from tests.distributed.jobs import child_environment, kill_group
from tests.training.test_trainer import RATES, make, weights

GROUP = """
import sys
from dataclasses import replace
from pathlib import Path
from protomask.training import Epochs, train
from protopnet.losses import ProtoPNetLoss
from tests.training.test_trainer import RATES, make
net, setup = make()
def log(rows):
    print(len(rows), flush=True)
try:
    train(net, [Epochs("joint", 10**6, ProtoPNetLoss(), RATES)], replace(setup, workers=int(sys.argv[2])),
          checkpoint=Path(sys.argv[1]), log=log)
except KeyboardInterrupt:
    sys.exit(130)
"""


class Interrupting:
    """The usual loss, which sends this process a signal when it is asked for the nth time."""

    def __init__(self, number: int, when: int) -> None:
        self.loss, self.number, self.left = ProtoPNetLoss(), number, when

    def __call__(self, *arguments):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)
        return self.loss(*arguments)


def terminated(number, frame):
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_what_was_interrupted_goes_on_to_the_bit(tmp_path, monkeypatch, number, step):
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        net, setup = make()
        with pytest.raises(KeyboardInterrupt):
            train(net, [Epochs("joint", 2, Interrupting(number, step), RATES)], setup, checkpoint=tmp_path / "state.pt")
        assert signal.getsignal(signal.SIGTERM) is terminated
    finally:
        signal.signal(signal.SIGTERM, before)
    saved = load_checkpoint(tmp_path / "state.pt")
    assert 4 * saved["epoch"] + saved["within"]["step"] == step  # four steps in an epoch
    assert saved["within"]["seconds"] > 0
    net, setup = make()
    rows = train(net, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup, checkpoint=tmp_path / "state.pt")
    whole, setup = make()
    expected = train(whole, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(net)[name]), name
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in expected]


def test_a_second_signal_is_obeyed_at_once():
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        signal.raise_signal(signal.SIGINT)
        assert held.pending == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("held back twice")


# Without loading processes it is an interruption as those above, and as that of a command in tests/end_to_end.
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_signal_to_the_whole_group_is_one_interruption(tmp_path, workers):
    process = subprocess.Popen(
        [sys.executable, "-c", GROUP, str(tmp_path / "state.pt"), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=child_environment(),
    )
    try:
        assert process.stdout.readline().strip() == "1"
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        kill_group(process)
    assert (process.returncode, errors) == (130, "")
    assert load_checkpoint(tmp_path / "state.pt")["log"]


class Finalised:
    """Is asked to end the process while it is finalised, where Python ignores exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):  # the handler runs in here
            pass


def test_an_interruption_that_python_ignores_comes_again(capsys):
    seen = []
    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupts_insist():
        Finalised()
        seen.append("went on")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.01)
    assert seen and time.monotonic() < end and sys.unraisablehook is before
    assert capsys.readouterr().err == ""


def test_other_exceptions_that_python_ignores_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: told.append(ignored.exc_type))

    class Broken:
        def __del__(self):
            raise ValueError("in a finaliser")

    with interrupts_insist():
        Broken()
    assert told == [ValueError]


def test_too_few_open_files_are_one_clear_line(monkeypatch):
    limits = [(24, 24)]

    class Resource:
        RLIMIT_NOFILE, RLIM_INFINITY = 7, -1
        getrlimit = staticmethod(lambda kind: limits[-1])
        setrlimit = staticmethod(lambda kind, limit: limits.append(limit))

    monkeypatch.setattr(loading, "resource", Resource)
    check_descriptors(0)
    with pytest.raises(InputError, match="may open only 24 files, and 2 loading processes need 128; raise the limit"):
        check_descriptors(2)
    limits.append((24, 4096))
    check_descriptors(2)
    assert limits[-1] == (128, 4096)  # the limit is raised where that is allowed


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from protomask.data.parts_cache import _begin
with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), initializer=_begin) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="scenes are rendered in processes on Linux alone")
def test_rendering_processes_end_with_the_one_that_they_render_for():
    process = subprocess.Popen(
        [sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True, start_new_session=True, env=child_environment()
    )
    try:
        helper = int(process.stdout.readline())
        process.kill()
        process.wait(timeout=30)
        end = time.monotonic() + 20
        while running(helper) and time.monotonic() < end:
            time.sleep(0.1)
        assert not running(helper)
    finally:
        kill_group(process)


def running(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
