"""Metrics of saliency maps: pure batched functions on tensors, each naming the published variant it implements."""

from protomask.metrics.causal import part_importance, part_mass, rank_correlation, top_part_hit
from protomask.metrics.faithfulness import (
    Curve,
    average_drop,
    average_gain,
    deletion,
    increase_in_confidence,
    insertion,
    kept_scores,
    minmax,
    relative_gain,
    relative_to_whole,
    rise_blur,
)
from protomask.metrics.localization import box_regions, energy_pointing, mean_per_class, pointing_game
from protomask.metrics.statistics import Interval, bootstrap_band, bootstrap_difference, bootstrap_mean

__all__ = [
    "Curve",
    "Interval",
    "average_drop",
    "average_gain",
    "bootstrap_band",
    "bootstrap_difference",
    "bootstrap_mean",
    "box_regions",
    "deletion",
    "energy_pointing",
    "increase_in_confidence",
    "insertion",
    "kept_scores",
    "mean_per_class",
    "minmax",
    "part_importance",
    "part_mass",
    "pointing_game",
    "rank_correlation",
    "relative_gain",
    "relative_to_whole",
    "rise_blur",
    "top_part_hit",
]
