"""The same backbone as a plain classifier, trained as long: what interpretability costs in accuracy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from protomask.errors import InputError
from protomask.gradients import with_gradients
from protomask.labels import right_answers
from protomask.prototype_network import Prediction
from protomask.training.classification import classification_terms
from protomask.training.prediction import performance
from protomask.training.stages import Action, Epochs, TrainingSet
from protomask.training.trainer import train


class BlackBox(nn.Module):
    """Classify by a backbone, the mean over positions and one linear layer."""

    def __init__(self, backbone: Any, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels, classes)

    def forward(self, images: Tensor) -> Prediction:
        logits = self.head(self.backbone(images).mean((2, 3)))
        return Prediction(logits, logits, logits)


def classification_loss(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute the classification term alone, with label smoothing 0.1, as in the default recipe of the networks."""
    logits = network(images).logits
    (loss,) = classification_terms(logits, labels, 0.1).values()
    return {"loss": loss, "correct": right_answers(logits, labels).sum()}


HEAD_RATE = 3e-3
"""of the linear head, in stages of the prototype network that train its backbone alone"""


def black_box_stages(stages: Sequence[Epochs | Action]) -> list[Epochs]:
    """Make the prototype network's epochs, same rates and schedules, for a backbone with a linear head.

    Stages that train the last layer alone have no part in it.

    Raises:
        InputError: nothing is left, so that nothing could be learned.
    """
    plan = []
    for stage in stages:
        if isinstance(stage, Action) or all(_is_part(name, "last_layer") for name in stage.rates):
            continue
        backbone = {name: rate for name, rate in stage.rates.items() if _is_part(name, "backbone")}
        others = [rate for name, rate in stage.rates.items() if name not in backbone]
        rates = {"head": max(others, default=HEAD_RATE), **backbone}
        plan.append(
            Epochs(
                stage.name,
                stage.epochs,
                classification_loss,
                rates,
                {**stage.decay, "head": stage.decay.get("add_on", 0.0)},
                stage.optimizer,
                stage.schedule,
            )
        )
    if not sum(stage.epochs for stage in plan):
        raise InputError(
            "black_box: the recipe has no epochs that train more than the last layer, so that a plain classifier would "
            "learn nothing; leave black_box out"
        )
    return plan


def _is_part(name: str, whole: str) -> bool:
    """Tell whether an attribute, ``a`` or ``a.b``, is ``whole`` or in it."""
    return name.split(".")[0] == whole


@with_gradients
def train_black_box(
    backbone: nn.Module,
    classes: int,
    stages: Sequence[Epochs | Action],
    setup: TrainingSet,
    test,
    checkpoint: Path | None = None,
    minutes: float = 10.0,
) -> dict:
    """Train a :class:`BlackBox` with the schedule of ``stages``.

    Args:
        backbone: as the prototype network's *before* its training (a copy is trained).
        checkpoint, minutes: see :func:`protomask.training.train`.

    Returns:
        What :func:`~protomask.training.performance` says on ``test``, and ``seconds``.
    """
    torch.manual_seed(setup.seed)
    network = BlackBox(copy.deepcopy(backbone), classes)
    setup = replace(setup, on_object=False)  # there are no prototypes
    rows = train(network, black_box_stages(stages), setup, checkpoint=checkpoint, minutes=minutes)
    return {**performance(network, test, setup), "seconds": sum(row["seconds"] for row in rows)}
