"""A network's answers on a whole data set."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.freezing import frozen
from protomask.labels import is_multi_label, positives, probabilities, right_answers
from protomask.metrics import auroc, average_precision
from protomask.training.stages import TrainingSet


def predict(
    network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "predict"
) -> tuple[Tensor, Tensor]:
    """Compute logits (N, C) and labels on the CPU, in the order of ``data``.

    Labels are (N,) or (N, C). Several processes share the work, each has the result.
    """
    share = data.subset(distributed.shard(len(data), setup.batch_size))
    logits, labels = [torch.empty(0, len(data.classes))], [data.labels[:0]]
    with frozen(network), torch.inference_mode(), setup.autocast():
        for batch in tqdm(setup.loader(share), desc=description, leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            logits.append(network(images).logits.float().cpu())
            labels.append(batch["labels"])
    return distributed.gather_rows(torch.cat(logits)), distributed.gather_rows(torch.cat(labels))


def performance(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "test") -> dict:
    """Measure how good the answers on a whole data set are.

    Returns:
        ``accuracy``: see :func:`accuracy`; ``auroc`` and ``average_precision``: each class against the rest, by its
        probability, the mean over the classes for which they are defined (macro); ``per_class``: name -> both and the
        number of ``images`` that have it. None where undefined.
    """
    logits, labels = predict(network, data, setup, description)
    has = positives(labels, logits.shape[1])
    scores = probabilities(logits.double(), is_multi_label(labels))
    areas, precisions = auroc(scores, has), average_precision(scores, has)
    rows = zip(data.classes, areas.tolist(), precisions.tolist(), has.sum(0).tolist())
    return {
        "accuracy": _number(right_answers(logits, labels).mean()),
        "auroc": _number(areas.nanmean()),
        "average_precision": _number(precisions.nanmean()),
        "per_class": {
            name: {"auroc": _number(area), "average_precision": _number(precision), "images": images}
            for name, area, precision, images in rows
        },
    }


def _number(value: Tensor | float) -> float | None:
    return None if math.isnan(value) else float(value)


def accuracy(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "accuracy") -> float:
    """Compute the share of right answers, in [0, 1] (:func:`protomask.labels.right_answers`); NaN for no images."""
    if len(data) == 0:
        return float("nan")
    logits, labels = predict(network, data, setup, description)
    return right_answers(logits, labels).mean().item()
