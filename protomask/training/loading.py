"""Batches of training images whose random transforms depend on nothing but the seed.

Every sample draws from a seed of its own. So the same images come out whatever the number of loading processes and of
training processes, and a run that is resumed in the middle of an epoch draws what the uninterrupted one would have
drawn.
"""

from __future__ import annotations

import atexit
import re
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.interruption import blocked_signals, leave_signals_to_parent

resource: Any
try:
    import resource
except ImportError:  # Windows knows no such limit
    resource = None

_DESCRIPTORS, _PER_WORKER = 64, 32
"""open files of the process itself, and of each loading process: its queues, and the tensors on their way"""

T = TypeVar("T")
Drawn = tuple[int, int]
"""(position, seed) of one sample"""


def derive_seed(seed: int, number: int) -> int:
    """Derive the seed of item ``number`` from ``seed``; not negative."""
    return (seed * 1_000_003 + number) % 2**63


def shuffled_batches(count: int, batch_size: int, seed: int, weights: Tensor | None = None) -> list[list[Drawn]]:
    """Draw positions 0..count - 1 in an order given by ``seed``, in batches.

    A last, partial batch is dropped unless it is the only one.

    With ``weights`` (count,) as many positions are drawn in proportion to them, some of them again, each time with
    another seed.
    """
    generator = torch.Generator().manual_seed(seed)
    if weights is None:
        drawn = [
            (position, derive_seed(seed, position)) for position in torch.randperm(count, generator=generator).tolist()
        ]
    else:
        order = torch.multinomial(weights, count, replacement=True, generator=generator).tolist()
        drawn = [(position, derive_seed(seed, place)) for place, position in enumerate(order)]
    end = count - count % batch_size or count
    return [drawn[start : start + batch_size] for start in range(0, end, batch_size)]


def ordered_batches(positions: Sequence[int], batch_size: int, seed: int) -> list[list[Drawn]]:
    """Divide ``positions`` into batches, in order."""
    drawn = [(position, derive_seed(seed, position)) for position in positions]
    return [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]


def own_part(batch: list[Drawn]) -> list[Drawn]:
    """Take this process's part of a batch that all processes work on; parts differ by at most one sample."""
    rank, size = distributed.rank(), distributed.size()
    return batch[len(batch) * rank // size : len(batch) * (rank + 1) // size]


class Loader(DataLoader):
    """Load as torch does, with loading processes whom no signal reaches before they know what to do about it, and whose
    errors of the input are one line, as they would be here."""

    def __iter__(self):
        with blocked_signals():
            batches = super().__iter__()
        if hasattr(batches, "_shutdown_workers"):
            _loading.add(batches)
        return _in_one_line(batches)


_loading: weakref.WeakSet[Any] = weakref.WeakSet()
"""iterators with loading processes"""


def _end_loading() -> None:
    """End what still loads when Python ends, as after an error that somebody keeps: Python itself would send the signal
    that loading processes leave to their parent, and wait for them for ever."""
    for batches in list(_loading):
        batches._shutdown_workers()


atexit.register(_end_loading)  # after multiprocessing, which torch imports, so that it runs before


def _in_one_line(batches: Iterator[T]) -> Iterator[T]:
    """Pass batches on; of an InputError in a loading process, whose message torch replaces by that process's whole
    traceback, give the message again."""
    try:
        yield from batches
    except InputError as error:
        text = str(error)
        if not text.startswith("Caught "):
            raise
        # The traceback ends with the class and the message.
        said = re.split(rf"^(?:\w+\.)*{type(error).__name__}: ", text.strip(), flags=re.MULTILINE)
        raise InputError(" ".join(said[-1].split())) from None


class SeededLoader:
    """Load batches of (position, seed); worker processes stay alive from one pass to the next.

    Args:
        data: with a transform that draws from torch's global generator.
        workers: loading processes; 0 loads here.
        pin_memory: for CUDA.
    """

    def __init__(self, data: AnnotatedImages, workers: int = 0, pin_memory: bool = False) -> None:
        check_descriptors(workers)
        self._batches: list[list[Drawn]] = []
        # The loader asks this very list for its batches at the start of each pass.
        self._loader = Loader(
            _Seeded(data),
            batch_sampler=self._batches,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=leave_signals_to_parent,
        )

    def __call__(self, batches: Sequence[list[Drawn]]) -> Iterator[dict[str, Any]]:
        """Make one pass over ``batches``, collated; to be exhausted before the next one."""
        self._batches[:] = batches
        return iter(self._loader)


def check_descriptors(workers: int) -> None:
    """Raise the limit of open files where ``workers`` loading processes need more.

    They hand their tensors over as files, and wait for ever where none is left.

    Raises:
        InputError: too few, though the limit was raised as far as allowed.
    """
    if resource is None or workers == 0:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS + _PER_WORKER * workers
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        raise InputError(
            f"this process may open only {most} files, and {workers} loading processes need {needed}; "
            "raise the limit (ulimit -n), or load with fewer workers (0: none)"
        )


class _Seeded(Dataset):
    def __init__(self, data: AnnotatedImages) -> None:
        self.data = data

    def __getitem__(self, drawn: Drawn) -> dict[str, Any]:
        position, seed = drawn
        before = torch.get_rng_state()
        # The CPU's generator alone: torch.manual_seed would wake CUDA in loading processes.
        torch.default_generator.manual_seed(seed)
        try:
            return self.data[position]
        finally:
            torch.set_rng_state(before)

    def __len__(self) -> int:
        return len(self.data)
