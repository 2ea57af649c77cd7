"""The last layer, fitted on similarities that are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch.nn import functional as F
from tqdm import tqdm

from protomask import distributed
from protomask.freezing import frozen
from protomask.labels import is_multi_label
from protomask.prototype_network import PrototypeNetwork
from protomask.training.classification import balanced_focal, classification_terms
from protomask.training.costs import wrong_class_weights
from protomask.training.loading import derive_seed, ordered_batches
from protomask.training.stages import TrainingSet
from protomask.training.stored_rows import COPIES, StoredRows

PASSES = 20
"""as the official recipe's passes over the last layer"""


def training_similarities(
    network: PrototypeNetwork, setup: TrainingSet, passes: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute similarities (passes * N, P) and labels of the training images under the training transform.

    The labels are (passes * N,) or (passes * N, C); several processes share the work.
    """
    similarities, labels = [], []
    for number in range(passes):
        mine = [torch.empty(0, network.prototype_count, device=setup.device, dtype=torch.float32)]
        mine += [found for found, _ in _similarities(network, setup, 1, number)]
        similarities.append(distributed.gather_rows(torch.cat(mine)))
        labels.append(setup.train.labels.to(setup.device))
    return torch.cat(similarities), torch.cat(labels)


def _similarities(
    network: PrototypeNetwork, setup: TrainingSet, passes: int, first: int = 0
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Take this process's share of the similarities (n, P), and the images they are of, in order."""
    share = distributed.shard(len(setup.train), setup.batch_size)
    loader = setup.seeded_loader(setup.train)
    for number in range(first, first + passes):
        batches = ordered_batches(share, setup.batch_size, derive_seed(setup.seed, number))
        loaded = tqdm(loader(batches), desc="last layer", leave=False, disable=not setup.progress, total=len(batches))
        for batch, drawn in zip(loaded, batches):
            with frozen(network), torch.no_grad(), setup.autocast():
                images = batch["images"].to(setup.device, memory_format=torch.channels_last)
                found = network(images).similarities
            yield found, [position for position, _ in drawn]


def fit_last_layer(
    network: PrototypeNetwork,
    setup: TrainingSet,
    *,
    l1: float,
    steps: int = 300,
    passes: int | None = None,
    memory: float | None = None,
) -> dict[str, float]:
    """Minimise the classification term + l1 * |wrong-class weights| over the last layer alone, its bias included.

    Where the network's evidence is positive, weights to other classes stay 0 and those to the own class >= 0: projected
    steps, which for a convex problem end in the constrained minimum (ours).

    The official recipe makes 20 passes over the training images for this convex problem (known); the similarities do
    not change meanwhile, so here they are computed once (ours), and full-batch Adam with a falling rate does the rest
    in seconds. Where they do not fit into the memory allowed, they are kept in a temporary file and read again in each
    step: the same weights, but for rounding.

    Args:
        network: projected.
        setup: data and machine.
        l1: weight of the L1 term.
        steps: of Adam.
        passes: times that every training image is seen, augmented anew; by default until there are about 2,000
            similarities, but at most ``PASSES``.
        memory: megabytes that the similarities and the work on them may take; ``setup.memory`` by default.

    Returns:
        The loss before and after.
    """
    passes = passes or min(PASSES, -(-2000 // len(setup.train)))
    memory = setup.memory if memory is None else memory
    needed = 4 * COPIES * network.prototype_count * passes * len(setup.train) / 2**20
    if needed <= memory:
        similarities, labels = training_similarities(network, setup, passes)
        return fit_rows(network, lambda: [(slice(0, len(labels)), similarities)], labels, len(labels), l1, steps)
    with StoredRows(network.prototype_count, memory) as stored:
        labels = store_similarities(network, setup, passes, stored)
        total = sum(distributed.gather(stored.count))
        return fit_rows(network, stored.chunks, labels, total, l1, steps, shared=True)


def store_similarities(network: PrototypeNetwork, setup: TrainingSet, passes: int, stored: StoredRows) -> torch.Tensor:
    """Write this process's share of the similarities, and give its labels."""
    labels = [setup.train.labels[:0].to(setup.device)]
    for similarities, positions in _similarities(network, setup, passes):
        stored.append(similarities)
        labels.append(setup.train.labels[positions].to(setup.device))
    return torch.cat(labels)


def fit_rows(
    network: PrototypeNetwork,
    chunks: Callable[[], Iterable[tuple[slice, torch.Tensor]]],
    labels: torch.Tensor,
    total: int,
    l1: float,
    steps: int,
    shared: bool = False,
) -> dict[str, float]:
    """Full-batch Adam over rows that come in chunks.

    Args:
        chunks: which of this process's rows, and their similarities (n, P).
        labels: of this process's rows.
        total: rows of all processes.
        shared: other processes have other rows.
    """
    layer, own, device = network.last_layer, network.own_class(), network.last_layer.weight.device
    positive = network.evidence == "positive"
    weight, *bias = [parameter.detach().clone() for parameter in layer.parameters()]
    # With positive evidence a prototype has one weight, that of its own class.
    learned = [weight.T[own.T] if positive else weight, *bias]
    learned = [value.requires_grad_(True) for value in learned]
    rate = 0.01 * network.scale
    optimizer = torch.optim.Adam(learned, lr=rate)
    counts = labels.sum(0) if is_multi_label(labels) else None
    if counts is not None and shared:
        counts = torch.stack(distributed.gather(counts.cpu())).sum(0).to(device)
    losses = []
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            optimizer.zero_grad()
            value = 0.0
            for rows, similarities in chunks():
                logits = _logits(similarities.to(device), learned, network.prototype_classes if positive else None)
                loss = _share_of_loss(logits, labels[rows], counts, total)
                loss.backward()
                value += loss.item()
            if shared:
                value = _sum_over_processes(learned, value)
            if not positive:
                penalty = l1 * wrong_class_weights(learned[0], own)
                penalty.backward()
                value += penalty.item()
            optimizer.step()
            if positive:
                learned[0].data.clamp_(min=0)
            losses.append(value)
    with torch.no_grad():
        if positive:
            layer.weight.zero_().T[own.T] = learned[0]
        else:
            layer.weight.copy_(learned[0])
        for parameter, value_of in zip(list(layer.parameters())[1:], learned[1:]):
            parameter.copy_(value_of)
    return {"loss_before": losses[0], "loss": losses[-1]} if losses else {}


def _logits(similarities: torch.Tensor, learned: Sequence[torch.Tensor], owners: torch.Tensor | None) -> torch.Tensor:
    """(n, C); with ``owners`` (P,), the class of each prototype, the first of ``learned`` is one weight each."""
    weight, *bias = learned
    if owners is None:
        return F.linear(similarities, weight, *bias)
    classes = int(owners.max()) + 1 if not bias else len(bias[0])
    logits = similarities.new_zeros(len(similarities), classes).index_add(1, owners, similarities * weight)
    return logits + bias[0] if bias else logits


def _share_of_loss(logits: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor | None, total: int) -> torch.Tensor:
    """Compute what these rows add to the classification term of all ``total`` rows."""
    if counts is not None:
        return balanced_focal(logits, labels, counts=counts, images=total)
    return classification_terms(logits, labels)["cross_entropy"] * (len(labels) / total)


def _sum_over_processes(learned: Sequence[torch.Tensor], value: float) -> float:
    if not distributed.active():
        return value
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        dist.all_reduce(parameter.grad)
    return sum(distributed.gather(value))
