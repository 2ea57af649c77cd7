"""Runs protomask commands in forks of one process that has imported everything, so that a killed run costs its work
alone.

Says that it is ready; then reads JSON lines ``[words, seconds or null]``; runs ``protomask WORDS``, kills it with
SIGKILL after so many seconds, and answers with its exit code (negative: the signal).
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback

import torch

from protomask.cli import main
from protomask.training import last_layer
from tests.distributed.forks import EVERYTHING


def run(words: list[str], kill_after: float | None, output: str) -> int:
    """The exit code of the command; what it says goes to the file ``output``."""
    number = os.fork()
    if number == 0:
        code = 70
        try:
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            code = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + (float("inf") if kill_after is None else kill_after)
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(number, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.002)


if __name__ == "__main__":
    for name in EVERYTHING:
        importlib.import_module(name)
    # Nothing is written while the last layer's rows are computed: two passes, that kills fall where something is.
    last_layer.PASSES = 2
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(*json.loads(line), sys.argv[1]), flush=True)
