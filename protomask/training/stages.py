"""The stages of recipes: epochs of gradient steps, and single actions such as the projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from protomask.data import AnnotatedImages, collate
from protomask.interruption import leave_signals_to_parent
from protomask.prototype_network import PrototypeNetwork
from protomask.training.loading import Loader, SeededLoader, check_descriptors

Objective = Callable[..., dict[str, Tensor]]
"""(network, images, labels) -> terms, for one kind of network; ``loss`` is minimised, ``correct`` counts right answers,
the rest is logged. With ``TrainingSet.on_object`` a fourth argument tells which patches (B, h, w) are on the object."""


@dataclass(frozen=True)
class TrainingSet:
    """Hold the data and the machine that a recipe's stages work with.

    ``train`` carries the training transform; ``plain`` is the same images through the evaluation transform, which
    projection and the validation use. ``validation`` may be empty.
    """

    train: AnnotatedImages
    plain: AnnotatedImages
    validation: AnnotatedImages
    device: torch.device = torch.device("cpu")
    batch_size: int = 32
    precision: str = "fp32"
    workers: int = 0
    seed: int = 0
    progress: bool = False
    balance: bool = False
    """draw training images so that every class is seen equally often, instead of each image once per epoch"""
    on_object: bool = False
    """prototypes may only become patches on the object, see :mod:`protomask.training.object_patches`"""
    memory: float = 2048.0
    """megabytes that fitting the last layer may take before it keeps similarities in a temporary file"""

    def loader(self, data: AnnotatedImages) -> DataLoader:
        """Load batches of ``data`` in order."""
        check_descriptors(self.workers)
        return Loader(
            data,
            self.batch_size,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals_to_parent,
        )

    def seeded_loader(self, data: AnnotatedImages) -> SeededLoader:
        """Load batches of chosen images of ``data``, each with a seed for its random transform."""
        return SeededLoader(data, self.workers, pin_memory=self.device.type == "cuda")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(frozen=True)
class Epochs:
    """Pass over the training data with one objective and one set of learning rates.

    Stages of the same name share their optimizer and their learning-rate schedule, so that a schedule interrupted by
    projections goes on where it was.

    Args:
        name: what the log and the progress bar call it.
        epochs: number of passes.
        objective: see :data:`Objective`.
        rates: attribute of the network (``a``, or ``a.b``) -> learning rate; every other parameter is frozen, and
            modules that do not learn stay in evaluation mode (their BatchNorm statistics do not drift).
        decay: attribute -> weight decay (decoupled for ``adamw``, L2 for ``adam``); 0 where not named.
        optimizer: ``"adam"`` or ``"adamw"``.
        schedule: from the share of the name's epochs that are done, in [0, 1], and their number, to a factor on the
            rates.
        anchored: prototypes rest on patches they were projected to, and are kept near them, see
            :mod:`protomask.training.anchoring`.
        after: called with the network after each gradient step, for what must hold whatever the optimizer does.
    """

    name: str
    epochs: int
    objective: Objective
    rates: Mapping[str, float]
    decay: Mapping[str, float] = field(default_factory=dict)
    optimizer: str = "adamw"
    schedule: Callable[[float, float], float] | None = None
    anchored: bool = False
    after: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Action:
    """Do one step as a stage: the projection, or a last layer fitted in closed loop.

    ``run`` changes the network and returns what the log shall say of it.
    """

    name: str
    run: Callable[[Any, TrainingSet], dict[str, Any]]


def bias_rate(network: PrototypeNetwork, rate: float = 3e-3) -> dict[str, float]:
    """Give the rate of a multi-label head's bias, as an entry of :attr:`Epochs.rates`; none without a bias.

    The weights wait for the end, as published; but how rare a finding is must be learned by something meanwhile.
    """
    return {"last_layer.bias": rate} if network.last_layer.bias is not None else {}


def warm_up_cosine(warm_up: float = 0.1, end: float = 0.01) -> Callable[[float, float], float]:
    """Rise linearly over the first ``warm_up`` share of the steps, then fall as a cosine to ``end``."""

    def factor(share: float, epochs_done: float) -> float:
        if share < warm_up:
            return max(share / warm_up, 0.02)
        phase = (share - warm_up) / (1 - warm_up)
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * phase))

    return factor


def steps(every: int, factor: float = 0.1, ahead: int = 0) -> Callable[[float, float], float]:
    """Multiply the rate by ``factor`` after each ``every`` epochs.

    ``ahead=1`` as the official code, which steps before it trains.
    """
    return lambda share, epochs_done: factor ** int((epochs_done + ahead) // every)


def with_rate(stages: Sequence[Epochs | Action], rate: float | None) -> list[Epochs | Action]:
    """Give the same stages with ``rate`` as the backbone's learning rate; all others keep their ratio to it.

    Stages that learn the last layer alone stay as they are. None leaves all as it is.
    """
    own = [each.rates["backbone"] for each in stages if isinstance(each, Epochs) and "backbone" in each.rates]
    if rate is None or not own:
        return list(stages)

    def scaled(stage: Epochs | Action) -> Epochs | Action:
        if not isinstance(stage, Epochs) or stage.rates.keys() <= {"last_layer"}:
            return stage
        rates = {name: each * rate / own[0] for name, each in stage.rates.items()}
        return replace(stage, rates=rates)

    return [scaled(stage) for stage in stages]
