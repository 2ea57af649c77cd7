"""Training by stages, resumable at any moment. Knows prototype networks, not their kinds."""

from protomask.training.passes import Diverged
from protomask.training.prediction import accuracy, changed_answers, performance, predict, rate_answers
from protomask.training.stages import Action, Epochs, TrainingSet
from protomask.training.trainer import train

__all__ = [
    "Action",
    "Diverged",
    "Epochs",
    "TrainingSet",
    "accuracy",
    "changed_answers",
    "performance",
    "predict",
    "rate_answers",
    "train",
]
