"""Maps per second, memory, the gain from batching, and what the loop adds to bare passes; random weights, noise as
images."""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch
from methods import CountedClassifier
from torch import Tensor

from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.localizers import Localizer
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.engine.speed.heap import keep_freed_memory
from protomask.localizers.specs import with_settings


def throughput(
    localizer: Localizer,
    device: torch.device,
    *,
    name: str = "resnet50",
    side: int = 224,
    batches: tuple[int, ...] = (1, 8, 64),
    precisions: tuple[str, ...] = ("fp32",),
    repeats: int = 3,
) -> list[dict]:
    """Times ``localizer``, a dataclass with ``batch_size`` and ``precision``: what a map costs does not depend on the
    picture.

    Args:
        name: of a timm model.
        batches: pairs of a call, learned together.
        precisions: one row for each, and each of ``batches``.
        repeats: calls after one that warms up; the loop and the bare passes take turns, and the fastest of each counts.

    Returns:
        rows of precision, batch_size, maps_per_second, speed_up (over the first row of that precision), passes
        (forward-backward) and forward (only), per map, overhead (seconds over those of as many bare passes of the same
        batch on the same folded model; no CUDA graphs there), processor_overhead (the same in processor time of all
        threads, which a busy machine does not lengthen) and, on CUDA, peak_bytes.
    """
    torch.manual_seed(0)
    model = timm.create_model(name).eval().to(device, memory_format=torch.channels_last)
    # Counting happens in Python, which CUDA graphs leave out: what is timed does not count.
    counted, explained = CountedClassifier(model), Classifier(model)
    rows: list[dict] = []
    for precision in precisions:
        base = None
        for batch in batches:
            images = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
            index = torch.arange(batch, device=device)
            chosen = with_settings(localizer, {"batch_size": str(batch), "precision": precision}, name)
            counted.tally.forward = counted.tally.backward = 0
            chosen(counted, images, index)
            passes, forward = counted.tally.backward // batch, counted.tally.forward // batch
            folded = accelerate(counted, images, index, precision)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            chosen(explained, images, index)
            peak = {"peak_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}
            _bare(folded, images, index, 1, 1)
            works = (lambda: chosen(explained, images, index), lambda: _bare(folded, images, index, passes, forward))
            times = [[_seconds(work, device) for work in works] for _ in range(repeats)]
            (loop, loop_busy), (bare, bare_busy) = (tuple(map(min, zip(*column))) for column in zip(*times))
            base = base or batch / loop
            row = {
                "precision": precision,
                "batch_size": batch,
                "maps_per_second": batch / loop,
                "speed_up": batch / loop / base,
                "passes": passes,
                "forward": forward,
                "overhead": loop / bare,
                "processor_overhead": loop_busy / bare_busy,
            }
            rows.append(row | peak)
    return rows


def _bare(explained: Explainable, images: Tensor, index: Tensor, passes: int, forward: int) -> None:
    """As many forward and input-gradient passes, and forward passes, and nothing else; memory is kept as in the
    loop."""
    with frozen(explained), keep_freed_memory(images.device.type):
        shown = images.clone(memory_format=torch.channels_last).requires_grad_()
        for _ in range(passes):
            torch.autograd.grad(explained.score(shown, index).sum(), shown)
        with torch.no_grad():
            for _ in range(forward):
                explained.score(images, index)


def _seconds(work: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """On the clock, and on the processor (all threads)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start, busy = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - busy
