"""Distillation: a small explainer network learns to draw in one pass what a learned mask would find."""

from protomask.distillation.explainers import distill
from protomask.distillation.settings import Distillation

__all__ = ["Distillation", "distill"]
