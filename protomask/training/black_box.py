"""The same backbone as a plain classifier, trained as long: what interpretability costs in accuracy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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


def black_box_stages(stages: Sequence[Epochs | Action]) -> list[Epochs]:
    """Make the prototype network's epochs, same rates and schedules, for a backbone with a linear head."""
    plan = []
    for stage in stages:
        if isinstance(stage, Action) or not {"backbone", "add_on"} & set(stage.rates):
            continue
        head = max(rate for name, rate in stage.rates.items() if name != "backbone")
        rates = {"head": head, **({"backbone": stage.rates["backbone"]} if "backbone" in stage.rates else {})}
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
    return plan


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
