"""A network's answers on a whole data set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.freezing import frozen
from protomask.labels import is_multi_label, log_odds, positives, require_numbers, right_answers
from protomask.metrics import auroc, average_precision
from protomask.training.stages import TrainingSet


def predict(
    network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "predict"
) -> tuple[Tensor, Tensor]:
    """Compute logits (N, C) and labels on the CPU, in the order of ``data``.

    Labels are (N,) or (N, C). Several processes share the work, each has the result.

    Raises:
        InputError: the network answers NaN or infinity for an image; names it.
    """
    share = data.subset(distributed.shard(len(data), setup.batch_size))
    logits, labels = [torch.empty(0, len(data.classes), dtype=torch.float32)], [data.labels[:0]]
    with frozen(network), torch.inference_mode(), setup.autocast():
        for batch in tqdm(setup.loader(share), desc=description, leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            logits.append(network(images).logits.float().cpu())
            labels.append(batch["labels"])
    answers = require_numbers(distributed.gather_rows(torch.cat(logits)), data.names)
    return answers, distributed.gather_rows(torch.cat(labels))


def performance(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "test") -> dict:
    """Measure how good the answers on a whole data set are.

    Returns:
        ``accuracy``: see :func:`accuracy`; ``auroc`` and ``average_precision``: each class against the rest, by its
        probability (in log-odds, which do not tie near 1), the mean over the classes for which they are defined
        (macro); ``per_class``: name -> both and the number of ``images`` that have it. None where undefined. ``right``:
        which images are answered right, as :func:`pack_answers` writes it; None where images have findings.
    """
    return rate_answers(*predict(network, data, setup, description), data.classes)


def rate_answers(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict:
    """Measure answers that were given already, as :func:`performance` does.

    Args:
        logits: (N, C).
        labels: (N,), or (N, C) findings.
        classes: C names.
    """
    has = positives(labels, logits.shape[1])
    scores = log_odds(logits.double(), is_multi_label(labels))
    areas, precisions = auroc(scores, has), average_precision(scores, has)
    rows = zip(classes, areas.tolist(), precisions.tolist(), has.sum(0).tolist())
    return {
        "accuracy": _number(right_answers(logits, labels).mean()),
        "auroc": _number(areas.nanmean()),
        "average_precision": _number(precisions.nanmean()),
        "right": None if is_multi_label(labels) else pack_answers(right_answers(logits, labels) == 1),
        "per_class": {
            name: {"auroc": _number(area), "average_precision": _number(precision), "images": images}
            for name, area, precision, images in rows
        },
    }


def pack_answers(right: Tensor) -> str:
    """Write (N,) bool as hexadecimal digits, four images each, so that a log can hold them.

    >>> pack_answers(torch.tensor([True, False, False, True]))
    '90'
    """
    return np.packbits(right.numpy()).tobytes().hex()


def changed_answers(before: str, after: str) -> dict[str, int]:
    """Count the images that became wrong and right between two packed answers about the same images.

    >>> changed_answers("90", "c0")
    {'right_to_wrong': 1, 'wrong_to_right': 1}
    """
    first, second = (
        np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(bool) for text in (before, after)
    )
    return {"right_to_wrong": int((first & ~second).sum()), "wrong_to_right": int((~first & second).sum())}


def _number(value: Tensor | float) -> float | None:
    return None if math.isnan(value) else float(value)


def accuracy(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "accuracy") -> float:
    """Compute the share of right answers, in [0, 1] (:func:`protomask.labels.right_answers`); NaN for no images."""
    if len(data) == 0:
        return float("nan")
    logits, labels = predict(network, data, setup, description)
    return right_answers(logits, labels).mean().item()
