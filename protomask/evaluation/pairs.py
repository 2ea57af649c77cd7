"""Which (image, prototype) pairs an evaluation looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explainable import PrototypeNetwork, frozen
from protomask.labels import positives


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images of a data set, each with one prototype (for a plain classifier: one class)."""

    positions: Tensor
    """(n,) long, positions in the data set"""
    prototypes: Tensor
    """(n,) long"""

    def __post_init__(self) -> None:
        for name in ("positions", "prototypes"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=torch.long).cpu().reshape(-1))
        if len(self.positions) != len(self.prototypes):
            raise InputError(f"{len(self.positions)} images for {len(self.prototypes)} prototypes; pairs need one each")

    def __len__(self) -> int:
        return len(self.positions)


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """``count`` positions of ``labels`` (n,), sorted; the classes take turns, in an order and with members drawn by
    ``seed``.

    So no class is ahead of another by more than one image, unless it has no more. All positions where ``count >= n``.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    # Within the shuffled order, the how-manieth of its class is each image? All firsts go before all seconds.
    grouped = labels[order].argsort(stable=True)
    sizes = labels.bincount()
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])
    turn = torch.empty_like(order)
    turn[grouped] = torch.arange(len(labels)) - starts[labels[order[grouped]]]
    return order[turn.argsort(stable=True)[:count]].sort().values


def device_of(explained: object) -> torch.device:
    """Where a module's first parameter is; the processor for what has none."""
    parameters = explained.parameters() if isinstance(explained, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def choose_pairs(network: PrototypeNetwork, data: AnnotatedImages, samples: int, seed: int = 0,
                 device: torch.device | str | None = None, *, batch_size: int = 16) -> Pairs:
    """``samples`` images of ``data``, stratified by class and drawn by ``seed``, each with the prototype of its own
    class whose similarity is greatest (the first of equals).

    With several findings per image, every finding of an image is a pair that can be drawn, with that finding's prototype.

    Args:
        network: its mode is left as it was.
        data: usually the test images, with the evaluation transform.
        samples: all images if there are no more.
        device: where the network is; by default where its first parameter is.

    Raises:
        InputError: no images are asked for or there are none; the classes are not the network's.
    """
    if samples < 1:
        raise InputError(f"samples must be at least 1, not {samples}")
    if tuple(data.classes) != tuple(network.classes):
        raise InputError(f"the data's {len(data.classes)} classes are not the {len(network.classes)} that the network "
                         "was trained on; evaluate on the same data set")
    device = device or device_of(network)
    owners = network.prototype_classes.cpu()
    candidates, labels = positives(data.labels, len(data.classes)).nonzero(as_tuple=True)
    kept = torch.isin(labels, owners)  # a pruned class may have no prototype left
    candidates, labels = candidates[kept], labels[kept]
    if not len(candidates):
        raise InputError("no image belongs to a class that has prototypes; there is nothing to evaluate")
    drawn = stratified(labels, samples, seed)
    positions, labels = candidates[drawn], labels[drawn]
    best = []
    with frozen(network), torch.no_grad():
        for part, classes in zip(positions.split(batch_size), labels.split(batch_size)):
            batch = collate([data[position] for position in part.tolist()])
            similarities = network(batch["images"].to(device)).similarities.cpu()
            own = owners == classes[:, None]
            best.append(similarities.masked_fill(~own, -torch.inf).argmax(1))
    return Pairs(positions, torch.cat(best))
