"""Groups of maps at once on a processor, each on one thread: no map depends on how many threads there are."""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

import torch

from protomask.copying import copies_whole
from protomask.explainable import Explainable
from protomask.freezing import held_modules

T = TypeVar("T")
IMAGES = 32
"""in the network at once, at most, of all groups together: each holds features of its own"""
GROUPS = 8
"""at once, at most: Python itself runs one thread at a time"""
_AT_ONCE: ContextVar[int] = ContextVar("groups at once", default=1)


@contextmanager
def one_thread_each(images: int) -> Iterator[None]:
    """Compute on one thread meanwhile, and let :func:`groups_at_once` be as many as torch may use threads.

    A sum that several threads share is rounded in another way than on one, and the many steps of a mask amplify it.

    Args:
        images: of each group.
    """
    threads = torch.get_num_threads()
    before = _AT_ONCE.set(max(min(threads, GROUPS, IMAGES // images), 1))
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
        _AT_ONCE.reset(before)


def groups_at_once() -> int:
    """Tell how many groups may be learned at once, on a thread each; 1 outside of :func:`one_thread_each`."""
    return _AT_ONCE.get()


class Stopped(Exception):
    """Another group ended with an error, or the user interrupts: this one is not wanted any more."""


def work_at_once(
    work: Callable[[Explainable, int, Callable[[], None]], T],
    explained: Explainable,
    count: int,
    done: Callable[[int], object],
) -> list[T]:
    """Do ``work(explained, number, go_on)`` for the numbers 0 to count - 1, some at once; results in their order.

    Each thread works with a copy of ``explained`` that shares its weights: a model may keep what it computes in its
    attributes and buffers. The caller's autocast, of which other threads know nothing, holds in each.
    What cannot be copied, or shares with its copy what computing changes, is worked with on one thread.

    Args:
        work: calls ``go_on`` from time to time, which raises :class:`Stopped` where the result is not wanted any more.
        done: called with the number of each that is done, in the calling thread.
    """
    copies: queue.SimpleQueue[Explainable] = queue.SimpleQueue()
    threads = min(groups_at_once(), count)
    threads = threads if threads > 1 and copies_whole(explained) else 1
    try:
        for _ in range(threads if threads > 1 else 0):
            copies.put(copy_sharing_weights(explained))
    except Exception:  # whatever a user's own class raises
        threads = 1
    stop = threading.Event()
    autocasts = [
        (device, torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda", "mps", "xpu")
        if torch.is_autocast_enabled(device)
    ]

    def go_on() -> None:
        if stop.is_set():
            raise Stopped

    def one(number: int) -> T:
        own = copies.get()
        try:
            go_on()
            with ExitStack() as casting:
                for device, dtype in autocasts:
                    casting.enter_context(torch.autocast(device, dtype))
                return work(own, number, go_on)
        finally:
            copies.put(own)

    if threads < 2:
        results = []
        for number in range(count):
            results.append(work(explained, number, go_on))
            done(number)
        return results
    with ThreadPoolExecutor(threads, "masks", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        # Who catches warnings, for one, is known by the context.
        futures = {pool.submit(copy_context().run, one, number): number for number in range(count)}
        try:
            for future in as_completed(futures):
                future.result()  # raises what the work raised, as soon as it did
                done(futures[future])
        except BaseException:
            stop.set()
            raise
    return [future.result() for future in futures]


def copy_sharing_weights(explained: Explainable) -> Explainable:
    """Copy what gives the scores, but for the parameters of its modules and the buffers of torch's own, which both
    share: what a forward of somebody's own writes into its buffers would disturb another thread's pass."""
    memo: dict[int, object] = {}
    for root in held_modules(explained):
        for module in root.modules():
            plain = type(module).__module__.startswith("torch.nn.")
            for tensor in (*module._parameters.values(), *(module._buffers.values() if plain else ())):
                if tensor is not None:
                    memo[id(tensor)] = tensor
    return copy.deepcopy(explained, memo)
