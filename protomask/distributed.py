"""Several processes on one job, started by ``torchrun``. In one process every function here is the plain thing, or
nothing.

Each process (``rank`` 0 to ``size() - 1``) has the whole network and the whole data set, works on its share, and gives
its results to all; the first process alone writes files.

>>> with job(torch.device("cpu")) as device:             # joins the others, if torchrun started any
...     mine = [number ** 2 for number in shard(5)]
...     everybody = sum(gather(mine), [])                # the same list in every process, in order
>>> everybody
[0, 1, 4, 9, 16]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from protomask.errors import InputError, PeerLost
from protomask.launched import launched

T = TypeVar("T")
R = TypeVar("R")
# A process that died is noticed by its closed connection and by torchrun; the others may wait long for the first
# one's pictures.
PATIENCE = timedelta(hours=24)
_alone = False
"""whether this is work of the first process that the others wait for"""
_LOST = ("gloo", "connection closed", "connection reset", "connection refused", "broken pipe", "nccl", "socket")


def active() -> bool:
    """Tell whether this process works with others just now. False in the processes that load data, and within
    :func:`only_first`."""
    return not _alone and dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Give the number of this process, 0..size() - 1; 0 alone."""
    return dist.get_rank() if active() else 0


def size() -> int:
    """Give the number of processes; 1 alone."""
    return dist.get_world_size() if active() else 1


def is_first() -> bool:
    """Tell whether this process is the one that writes files and speaks; known also before it has joined the others."""
    return launched().rank == 0


@contextmanager
def job(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started: by NCCL on CUDA, by gloo elsewhere.

    Args:
        device: what was asked for; of plain ``cuda`` each process on a machine gets one of its own.

    Yields:
        The device of this process.

    Raises:
        InputError: more processes on this machine than CUDA devices, or one device that all of them would share; the
            processes cannot be joined.
        PeerLost: another process ended while this one waited for it.
    """
    world = launched()
    if world.size == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        if device.index is None and world.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"torchrun started more processes than this machine has CUDA devices ({torch.cuda.device_count()}); "
                "lower --nproc-per-node, or use device=cpu"
            )
        if device.index is not None and world.local_size > 1:
            raise InputError(
                f"device is {device}, which all {world.local_size} processes on this machine would share; "
                "give device=cuda, of which each takes one, or lower --nproc-per-node to 1"
            )
        device = torch.device("cuda", world.local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    _join(device)
    try:
        yield device
        dist.barrier()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error).lower() for word in _LOST):
            raise PeerLost(
                f"process {world.rank} of {world.size} stops because another process of the job ended; "
                f"its own message says why (here: {_first_line(error)})"
            ) from error
        raise
    finally:
        if active():
            dist.destroy_process_group()


def _join(device: torch.device) -> None:
    """Join the other processes, and say why that cannot be: nobody has ended yet whose message would."""
    try:
        # Objects and tensors of the CPU go by gloo in any case.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', '(no MASTER_PORT)')}"
        raise InputError(
            f"cannot join the job at {place} ({_first_line(error)}); give a free port and an address that all of its "
            "processes reach (torchrun's --master-port and --master-addr)"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()[:300]


def barrier() -> None:
    """Wait until every process is here."""
    if active():
        dist.barrier()


def shard(count: int, multiple: int = 1) -> range:
    """Give the positions out of 0..count - 1 that are this process's work: one block each, in the order of the ranks.

    Args:
        multiple: every block starts at a multiple of it. Given the batch size, the processes see the very batches that
            one process would see, so that results agree to the bit.

    >>> shard(10)
    range(0, 10)
    """
    units = -(-count // multiple)
    start, end = (min(count, units * place // size() * multiple) for place in (rank(), rank() + 1))
    return range(start, end)


def gather(value: T) -> list[T]:
    """Give every process's value (anything that pickles), in the order of the ranks, in every process."""
    if not active():
        return [value]
    values: list = [None] * size()
    dist.all_gather_object(values, value)
    return values


def share_out(items: Sequence[T], work: Callable[[T], R]) -> list[R]:
    """Give ``work(item)`` of every item, in order, in every process; each does a block of them, and what it gives must
    pickle.

    >>> share_out(["a", "b"], str.upper)
    ['A', 'B']
    """
    done = [work(items[place]) for place in shard(len(items))]
    return [each for part in gather(done) for each in part]


def from_first(value: T) -> T:
    """Give the first process's value, in every process."""
    if not active():
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def gather_rows(rows: Tensor) -> Tensor:
    """Give the rows (N_r, ...) of all processes, one after the other, in every process: (sum of N_r, ...).

    N_r may differ, also be 0; dtype and the other sizes may not.
    """
    if not active():
        return rows
    counts = gather(len(rows))
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded.contiguous())
    return torch.cat([each[:count] for each, count in zip(found, counts)])


def only_first(work: Callable[[], T]) -> T | None:
    """Give ``work()`` in the first process, while the others wait; its result there, None in the others.

    Meanwhile that process counts as one on its own, so that ``work`` may call whatever shares its work elsewhere.

    Raises:
        PeerLost: in the others, when the first one failed (there, the error itself).
    """
    if not active():
        return work()
    global _alone
    result, failure = None, None
    if is_first():
        _alone = True
        try:
            result = work()
        except Exception as error:
            failure = error
        finally:
            _alone = False
    succeeded = from_first(failure is None)
    if failure is not None:
        raise failure
    if not succeeded:
        raise PeerLost(f"process {rank()} of {size()} stops because the first process failed; its own message says why")
    return result
