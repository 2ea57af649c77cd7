"""Localizers x metrics over (image, prototype) pairs: one table with confidence intervals."""

from protomask.evaluation.availability import available_metrics
from protomask.evaluation.catalogue import HIGHER_IS_BETTER, METRICS
from protomask.evaluation.evaluate import evaluate
from protomask.evaluation.oracle import Oracle
from protomask.evaluation.pairs import (
    Pairs,
    choose_pairs,
    choose_prototype_pairs,
    choose_similar_pairs,
    choose_source_pairs,
)
from protomask.evaluation.results import Evaluation

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "Evaluation",
    "Oracle",
    "Pairs",
    "available_metrics",
    "choose_pairs",
    "choose_prototype_pairs",
    "choose_similar_pairs",
    "choose_source_pairs",
    "evaluate",
]
