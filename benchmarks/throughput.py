"""Maps per second, memory, the gain from batching, and what the loop adds to bare passes; random weights, noise as images."""

from __future__ import annotations

import dataclasses
import time

import timm
import torch
from methods import CountedClassifier

from protomask.explainable import Explainable, frozen
from protomask.localizers import Localizer
from protomask.localizers.speed import faster


def throughput(
    localizer: Localizer,
    device: torch.device,
    *,
    name: str = "resnet50",
    side: int = 224,
    batches: tuple[int, ...] = (1, 8, 32),
    repeats: int = 3,
) -> list[dict]:
    """Times ``localizer``, a dataclass with ``batch_size``: what a map costs does not depend on the picture.

    Args:
        name: of a timm model.
        batches: pairs learned together, one row each; every call has as many pairs as the greatest.
        repeats: calls, of which the fastest counts, after one that warms up.

    Returns:
        rows of batch_size, maps_per_second, speed_up (over the first row), passes (forward-backward, per map), overhead (seconds
        over those of as many bare forward and input-gradient passes of the same batch on the same folded model) and, on CUDA,
        peak_bytes.
    """
    torch.manual_seed(0)
    explained = CountedClassifier(timm.create_model(name).eval().to(device, memory_format=torch.channels_last))
    images = torch.randn(max(batches), 3, side, side, device=device)
    index = torch.arange(max(batches), device=device)
    rows: list[dict] = []
    for batch in batches:
        chosen = dataclasses.replace(localizer, batch_size=batch)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        before = explained.tally.backward
        chosen(explained, images, index)
        passes = (explained.tally.backward - before) // len(index)
        seconds = min(_seconds(lambda: chosen(explained, images, index), device) for _ in range(repeats))
        bare = min(_seconds(lambda: _bare(explained, images, index, batch, passes), device) for _ in range(repeats))
        row = {
            "batch_size": batch,
            "maps_per_second": len(index) / seconds,
            "passes": passes,
            "overhead": seconds / bare,
        }
        row["speed_up"] = row["maps_per_second"] / (rows[0] if rows else row)["maps_per_second"]
        if device.type == "cuda":
            row["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        rows.append(row)
    return rows


def _bare(explained: Explainable, images: torch.Tensor, index: torch.Tensor, batch: int, passes: int) -> None:
    """As many forward and input-gradient passes, and nothing else."""
    folded = faster(explained, images, index)
    with frozen(folded):
        for part, chosen in zip(images.split(batch), index.split(batch)):
            part = part.clone(memory_format=torch.channels_last).requires_grad_()
            for _ in range(passes):
                torch.autograd.grad(folded.score(part, chosen).sum(), part)


def _seconds(work, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
