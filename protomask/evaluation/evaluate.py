"""Localizers x metrics over (image, prototype) pairs: one table with confidence intervals.

>>> pairs = choose_pairs(network, test, samples=100)                            # doctest: +SKIP
>>> found = evaluate(network, test, {"mdm": MDM(), "similarity": Similarity()}, pairs)       # doctest: +SKIP
>>> print(found.table(), found.verdict("mdm", "similarity"), sep="\\n")          # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.evaluation.cases import Batch, Case, deciding
from protomask.evaluation.pairs import Pairs, device_of
from protomask.evaluation.results import Evaluation
from protomask.explainable import Explainable, frozen
from protomask.metrics.catalogue import METRICS
from protomask.metrics.localization import box_regions

TRUTHS = {"boxes": "boxes smaller than the image", "mask": "object masks", "parts": "parts that can be removed"}


def available_metrics(data: AnnotatedImages, positions: Iterable[int]) -> list[str]:
    """Names of the metrics for which ``data`` holds the truth in at least one image of ``positions``.

    Images are read until one does.
    """
    missing, held = {"boxes", "mask"}, set()
    for position in positions:
        sample = data[position]
        height, width = sample["image"].shape[-2:]
        if "boxes" in missing and deciding(box_regions([sample["boxes"].as_subclass(Tensor)], height, width)).any():
            held.add("boxes")
        if "mask" in missing and "mask" in sample and deciding(sample["mask"].as_subclass(Tensor) > 0).any():
            held.add("mask")
        missing -= held
        if not missing:
            break
    if hasattr(data, "part_masks") and hasattr(data, "without_part"):
        held.add("parts")
    return [name for name, metric in METRICS.items() if metric.needs is None or metric.needs in held]


def evaluate(network: Explainable, data: AnnotatedImages, localizers: dict[str, Callable], pairs: Pairs, *,
             metrics: Sequence[str] | None = None, seed: int = 0, batch_size: int = 16,
             device: torch.device | str | None = None, progress: bool = False) -> Evaluation:
    """Measure every localizer's maps of the same pairs.

    Args:
        network: usually a prototype network; anything with ``score``, on ``device``. Left exactly as it was.
        data: with the evaluation transform; ``pairs.positions`` point into it.
        localizers: name -> ``localizer(network, images, index) -> (B, H, W)`` in [0, 1].
        pairs: see :func:`choose_pairs`.
        metrics: names out of ``METRICS``; None takes all that the data allows.
        seed: of the bootstrap.
        batch_size: pairs localised together, and perturbed images scored together.
        device: where the network is; by default where its first parameter is.
        progress: show a bar.

    Raises:
        InputError: nothing to evaluate; an unknown metric, or one whose truth the data does not hold; a map or a score
            that is not finite (the message names localizer and image).
    """
    if not localizers or not len(pairs):
        raise InputError(f"evaluate: {len(localizers)} localizers and {len(pairs)} pairs; give at least one of each")
    chosen = _choose(metrics, data, pairs)
    device = device or device_of(network)
    values = {localizer: {metric: [] for metric in chosen} for localizer in localizers}
    kinds = [kind for kind in ("insertion", "deletion") if kind in chosen]
    curves = {localizer: {kind: [] for kind in kinds} for localizer in localizers}
    seconds = dict.fromkeys(localizers, 0.0)
    count = len(pairs) * len(localizers)
    with frozen(network), tqdm(total=count, desc="evaluate", unit="map", disable=not progress) as bar:
        for positions, index in zip(pairs.positions.split(batch_size), pairs.prototypes.split(batch_size)):
            batch = Batch(network, data, positions.tolist(), index, device, batch_size)
            for name, localizer in localizers.items():
                bar.set_postfix_str(name)
                saliency, spent = _localize(localizer, batch)
                seconds[name] += spent
                case = Case(batch, name, saliency)
                for metric in chosen:
                    values[name][metric].append(METRICS[metric].measure(case).cpu())
                for kind in kinds:
                    curves[name][kind].append(getattr(case, kind).scores.cpu())
                bar.update(len(index))
    return Evaluation.summarise(
        pairs, [data.names[position] for position in pairs.positions.tolist()],
        {name: {metric: torch.cat(found) for metric, found in each.items()} for name, each in values.items()},
        {name: spent / len(pairs) for name, spent in seconds.items()},
        {name: {kind: torch.cat(found) for kind, found in each.items()} for name, each in curves.items()}, seed=seed)


def _choose(metrics: Sequence[str] | None, data: AnnotatedImages, pairs: Pairs) -> list[str]:
    for name in metrics or ():
        if name not in METRICS:
            raise InputError(f"metric {name!r} is unknown; choose from {', '.join(METRICS)}")
    available = available_metrics(data, pairs.positions.tolist())
    for name in metrics or ():
        if name not in available:
            raise InputError(f"metric {name!r} needs {TRUTHS[METRICS[name].needs]}, which this data does not have; "
                             f"it allows {', '.join(available)}")
    return list(dict.fromkeys(metrics)) if metrics else available


def _localize(localizer: Callable, batch: Batch) -> tuple[Tensor, float]:
    """The localizer's maps of a batch, and the seconds they took."""
    def now() -> float:
        if batch.images.is_cuda:
            torch.cuda.synchronize(batch.images.device)
        return time.perf_counter()

    before = now()
    saliency = localizer(batch.explained, batch.images, batch.index).detach()
    return saliency, now() - before
