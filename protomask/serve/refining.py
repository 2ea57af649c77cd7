"""Refining from the page: one at a time, in a process of its own that can be stopped; the old run is never touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protomask.errors import InputError
from protomask.run.refining import refined_name
from protomask.run.review import Review
from protomask.run_folder import free_folder

PATIENCE = 10.0
"""seconds that a process has to stop by itself"""
BUSY = "a network is being taught already; wait for it, or stop it"


@dataclass(frozen=True)
class State:
    """How far it is."""

    number: int = 0
    """of this state, so that a listener knows what it has told"""
    running: bool = False
    share: float = 0.0
    words: str = ""
    error: str | None = None
    made: Path | None = None
    """the new run, where the last one was finished"""


class Refining:
    """Refine runs in the background; a context manager, on whose end what is at work is stopped.

    Args:
        finished: called with the new run's folder.
    """

    def __init__(self, finished: Callable[[Path], None] = lambda folder: None) -> None:
        self.state = State()
        self._finished = finished
        self._changed = threading.Lock()
        self._stopping = False
        """whether somebody asked for the end of what is at work"""
        self._process: subprocess.Popen | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Refining:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, folder: Path, review: Review, *, device: str, root: str | None) -> None:
        """Begin to refine the run in ``folder`` by ``review`` as it is now.

        Raises:
            InputError: it is at work already; no folder can be made beside the run's.
        """
        with self._changed:
            if self.state.running:
                raise InputError(BUSY)
            output = free_folder(folder.resolve().parent, refined_name(folder))
            self._tell(running=True, share=0.0, words="starting", error=None, made=None)
            self._stopping = False
            asked = {
                "folder": str(folder),
                "device": device,
                "root": root,
                "review": list(review.judgements),
                "output": str(output),
            }
            try:
                self._process = _begin(asked)
            except OSError as error:
                shutil.rmtree(output, ignore_errors=True)
                self._tell(running=False)
                raise InputError(f"no process can be started ({error.strerror}); try again") from error
            self._thread = threading.Thread(target=self._listen, args=(self._process, output), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop what is at work, if anything is; its half-made folder goes."""
        process, thread = self._process, self._thread
        if process is None or thread is None:
            return
        self._stopping = True
        if process.stdin is not None:
            process.stdin.close()
        thread.join(PATIENCE)
        if thread.is_alive():
            _kill(process)
            thread.join(PATIENCE)

    def _listen(self, process: subprocess.Popen, output: Path) -> None:
        done, error = False, None
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):  # killed in the middle of it
                continue
            told = json.loads(line)
            done, error = done or "done" in told, told.get("error", error)
            if "share" in told:
                self._tell(share=told["share"], words=told["words"])
        _kill(process)  # it has told all that it had to; loading processes of it may be left
        code = process.wait()
        if not done:
            shutil.rmtree(output, ignore_errors=True)  # made by this refining and by nobody else
        else:
            self._finished(output)
        stopped = self._stopping and not done and error is None
        if not done and not stopped:
            error = error or _how_it_ended(code)
        self._tell(running=False, error=error, words="stopped" if stopped else "", made=output if done else None)

    def _tell(self, **changes: Any) -> None:
        self.state = State(**{**vars(self.state), **changes, "number": self.state.number + 1})


def _begin(asked: dict) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "protomask.serve.refining_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the page, which stops it then
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    return process


def _how_it_ended(code: int) -> str:
    """Say how a process ended that nobody stopped, from its exit code, and what to do about it."""
    if code == -9:  # what a system does that has no memory left
        return "the process ended by itself (signal 9); memory may be short: close other programs and teach again"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process ended by itself ({how}); the terminal says more; teach again"


def _kill(process: subprocess.Popen) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
