"""Maps per second, memory and the gain from batching, for ResNet-50 at 224 pixels with random weights."""

from __future__ import annotations

import dataclasses
import time

import timm
import torch

from protomask.explainable import Classifier
from protomask.localizers import Localizer

BATCHES = (1, 8, 32)


def throughput(
    localizer: Localizer,
    device: torch.device,
    *,
    name: str = "resnet50",
    side: int = 224,
    batches: tuple[int, ...] = BATCHES,
    repeats: int = 3,
) -> list[dict]:
    """Times ``localizer`` (a dataclass with ``batch_size``) on noise: what a map costs does not depend on the picture.

    Args:
        batches: pairs learned together, one row each; every call has as many pairs as the greatest.
        repeats: calls, of which the fastest counts, after one that warms up.

    Returns:
        rows of batch_size, maps_per_second, speed_up (over the first row) and, on CUDA, peak_bytes.
    """
    torch.manual_seed(0)
    explained = Classifier(timm.create_model(name).eval().to(device, memory_format=torch.channels_last))
    images = torch.randn(max(batches), 3, side, side, device=device)
    index = torch.arange(max(batches), device=device)
    rows: list[dict] = []
    for batch in batches:
        chosen = dataclasses.replace(localizer, batch_size=batch)
        seconds = []
        for _ in range(1 + repeats):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            chosen(explained, images, index).sum().item()  # the number waits for the device
            seconds.append(time.perf_counter() - start)
        row = {"batch_size": batch, "maps_per_second": len(index) / min(seconds[1:])}
        row["speed_up"] = row["maps_per_second"] / (rows[0] if rows else row)["maps_per_second"]
        if device.type == "cuda":
            row["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        rows.append(row)
    return rows
