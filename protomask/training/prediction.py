"""A network's answers on a whole data set."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.explainable import frozen
from protomask.training.stages import TrainingSet


def predict(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "predict") -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,), on the CPU, in the order of ``data``; several processes share the work, each has the result."""
    share = data.subset(distributed.shard(len(data), setup.batch_size))
    logits, labels = [torch.empty(0, len(data.classes))], [data.labels[:0]]
    with frozen(network), torch.inference_mode(), setup.autocast():
        for batch in tqdm(setup.loader(share), desc=description, leave=False, disable=not setup.progress):
            images = batch["images"].to(setup.device, memory_format=torch.channels_last)
            logits.append(network(images).logits.float().cpu())
            labels.append(batch["labels"])
    return distributed.gather_rows(torch.cat(logits)), distributed.gather_rows(torch.cat(labels))


def accuracy(network: nn.Module, data: AnnotatedImages, setup: TrainingSet, description: str = "accuracy") -> float:
    """Share of right answers, in [0, 1]; NaN for no images."""
    if len(data) == 0:
        return float("nan")
    logits, labels = predict(network, data, setup, description)
    return (logits.argmax(1) == labels).double().mean().item()
