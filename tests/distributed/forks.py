"""Runs a function in processes that join each other as torchrun's do, but are forks of one that has imported
everything: a test waits for its work alone, and not for the imports of each process."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

EVERYTHING = [
    *("torch", "torch.distributed", "torchvision", "timm", "scipy.stats", "skimage.transform", "matplotlib.figure"),
    *("scipy.signal", "matplotlib.patheffects", "matplotlib.backends.backend_agg", "torch._dynamo"),
    *("pytest", "protomask.cli", "protomask.run", "protomask.training", "protomask.evaluation", "protopnet.recipe"),
    *(
        "protomask.commands.train",
        "protomask.backbones.timm_models",
        "protomask.report.figures",
        "protomask.report.html",
    ),
]
"""what takes time to import"""

# The process that is forked is one that this starts, not the test's own: that may have threads of CUDA.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(EVERYTHING)


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """its exit code; negative: the signal"""
    said: str
    """what it wrote to standard output and standard error"""


def together(processes: int, function: Callable, *arguments, timeout: float = 600) -> list[Ended]:
    """Call ``function(*arguments)`` in so many processes at once; tell how each of them ended, in the order of their
    ranks. None of them is left behind, whatever happened."""
    # As with torchrun, the one who starts the processes holds what they meet at: no port is given twice.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, str(rank)) for rank in range(processes)]
        started = [
            FORKS.Process(target=_join, args=(_world(rank, processes, store.port), output, function, arguments))
            for rank, output in enumerate(outputs)
        ]
        end = time.monotonic() + timeout
        try:
            for process in started:
                process.start()
            for process in started:
                process.join(max(0, end - time.monotonic()))
            said = [output.read_text() if output.exists() else "" for output in outputs]
            assert all(process.exitcode is not None for process in started), f"not done after {timeout} s: {said}"
        finally:
            for process in started:
                if process.pid is not None:
                    process.kill()
                    process.join(30)
        return [Ended(process.exitcode, text) for process, text in zip(started, said)]


def all_done(ended: list[Ended]) -> None:
    """Require that every process ended well."""
    assert all(each.code == 0 for each in ended), [each.said[-2000:] for each in ended]


def _world(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torchrun says in the environment of a process."""
    numbers = {
        **dict.fromkeys(("RANK", "LOCAL_RANK"), rank),
        **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), processes),
        "MASTER_PORT": port,
        "TORCHELASTIC_RESTART_COUNT": 0,
        "OMP_NUM_THREADS": 1,
    }
    names = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {**{name: str(number) for name, number in numbers.items()}, **names}


def _join(world: dict[str, str], output: Path, function: Callable, arguments: tuple) -> None:
    """What each process does."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(world)
    torch.set_num_threads(1)
    function(*arguments)
