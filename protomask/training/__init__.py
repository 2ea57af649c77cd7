"""Training by stages, resumable after every epoch. Knows prototype networks, not their kinds."""

from protomask.training.prediction import accuracy, predict
from protomask.training.stages import Action, Epochs, TrainingSet
from protomask.training.trainer import Diverged, train

__all__ = ["Action", "Diverged", "Epochs", "TrainingSet", "accuracy", "predict", "train"]
