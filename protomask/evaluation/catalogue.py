"""The metrics that an evaluation knows by name. A further metric is one more entry.

``measure`` gets a :class:`protomask.evaluation.cases.Case` (the pairs of one batch with the maps of one localizer) and
gives one value per pair, NaN where the metric is undefined. What several metrics share, the case computes once. A
metric of the whole data set, or of prototypes, measures what it needs of each pair and makes values of it in
``finish``. What a ``measure`` of one's own depends on beside its own code and defaults is told by ``beside``, or kept
values would be taken for others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from torch import Tensor

from protomask.evaluation.variants import ANOTHER_CLASS, KEPT, RANDOMISED, UNSEEN_NOISE
from protomask.metrics import (
    boxes,
    causal,
    faithfulness,
    harmonic,
    localization,
    magnitude,
    part_points,
    prototype_sets,
    sanity,
    segmentation,
    simplicity,
    steadiness,
)

Range = tuple[float, float]
SHARE: Range = (0, 1)
PERCENT: Range = (0, 100)
CORRELATION: Range = (-1, 1)
FROM_ZERO: Range = (0, math.inf)


class Over(Enum):
    """The pairs that a metric is measured on."""

    PAIRS = "pairs"
    """a value per pair"""
    CLASS = "class"
    """a value per prototype, over several images of its class"""
    MOST_SIMILAR = "most similar"
    """a value per prototype, over the images of the whole data set that are most similar to it"""
    IMAGES = "images"
    """a value per prototype, over all images that are evaluated, each once; asks for no map"""


class Metric(NamedTuple):
    measure: Callable[[Any], Tensor]
    """case -> (B,), or (B, ...) where there is a ``finish``"""
    higher_is_better: bool
    needs: str | None = None
    """what data or network must have, a key of :data:`protomask.evaluation.availability.NEEDS`; None: nothing"""
    finish: Callable[[Tensor, Tensor], Tensor] | None = None
    """(what was measured of all n pairs (n, ...), the pairs' prototypes (n,)) -> a value per pair (n,) or, where
    :attr:`of_prototypes`, per prototype (P,) in the order of ``prototypes.unique()``; over ``IMAGES`` n are these"""
    over: Over = Over.PAIRS
    """the pairs that it is measured on"""
    usual: bool = True
    """measured unless metrics are named; the others cost further maps or gradients, or say again what a usual one
    says"""
    hit: float | None = None
    """every value is 0 or this (1 or 100), which asks for intervals of shares; None: anything"""
    beside: Callable[[Any], list[str]] | None = None
    """batch -> B texts of what the value depends on beside image, index, boxes, mask and points, so that kept values
    are told apart by it; None: on nothing"""
    range: Range = (-math.inf, math.inf)
    """least and greatest value that there can be, whatever the score is; intervals are cut to it"""
    of_probabilities: Range | None = None
    """the same where the scores are probabilities; None: :attr:`range`"""

    @property
    def of_prototypes(self) -> bool:
        """Whether there is a value per prototype instead of one per pair."""
        return self.over is not Over.PAIRS


METRICS: dict[str, Metric] = {
    # The score is divided by its value on the whole image, unless it is a probability; drops and gains are percentages
    # of that value.
    "insertion": Metric(lambda case: case.insertion.auc, True, of_probabilities=SHARE),
    "deletion": Metric(lambda case: case.deletion.auc, False, of_probabilities=SHARE),
    "average_drop": Metric(lambda case: case.drop, False, range=FROM_ZERO, of_probabilities=PERCENT),
    "increase": Metric(lambda case: faithfulness.increase_in_confidence(case.batch.whole, case.kept), True, hit=100),
    "gain": Metric(lambda case: case.gain, True, range=FROM_ZERO, of_probabilities=PERCENT),
    "region_deletion": Metric(lambda case: case.region_deletion, False, usual=False, of_probabilities=SHARE),
    "kept_first": Metric(lambda case: case.kept_first, True, usual=False, range=SHARE),
    "judge_insertion": Metric(lambda case: case.judge_insertion, True, "judge", range=SHARE),
    "judge_deletion": Metric(lambda case: case.judge_deletion, False, "judge", range=SHARE),
    "judge_region_deletion": Metric(lambda case: case.judge_region_deletion, False, "judge", usual=False, range=SHARE),
    "judge_kept": Metric(lambda case: case.judge_kept, True, "judge", range=SHARE),
    "road": Metric(lambda case: case.road, True, of_probabilities=(-0.5, 0.5)),
    "mas_insertion": Metric(
        lambda case: magnitude.mas_insertion(case.insertion.scores, case.saliency),
        True,
        usual=False,
        range=SHARE,
    ),
    "mas_deletion": Metric(
        lambda case: magnitude.mas_deletion(case.deletion.scores, case.saliency),
        False,
        usual=False,
        range=SHARE,
    ),
    "infidelity": Metric(lambda case: case.infidelity, False, usual=False, range=SHARE),
    "adcc": Metric(
        lambda case: harmonic.adcc(
            case.drop / 100, harmonic.coherency(case.saliency, case.maps(KEPT)), harmonic.complexity(case.saliency)
        ),
        True,
        usual=False,
        range=SHARE,
    ),
    "relevance_ordering": Metric(lambda case: case.relevance_ordering, True, usual=False, of_probabilities=SHARE),
    "fidelity": Metric(lambda case: case.fidelity, False, "similarity maps", usual=False),
    "misalignment": Metric(lambda case: case.misalignment, False, usual=False, of_probabilities=(-math.inf, 100)),
    "pointing_box": Metric(lambda case: case.pointing(case.batch.boxes), True, "boxes", hit=1),
    "pointing_mask": Metric(lambda case: case.pointing(case.batch.mask), True, "mask", hit=1),
    "energy_box": Metric(
        lambda case: localization.energy_pointing(case.saliency, case.batch.boxes), True, "boxes", range=SHARE
    ),
    "energy_mask": Metric(
        lambda case: localization.energy_pointing(case.saliency, case.batch.mask), True, "mask", range=SHARE
    ),
    "top_tenth": Metric(
        lambda case: localization.top_share_on_object(case.saliency, case.batch.mask),
        True,
        "mask",
        usual=False,
        range=SHARE,
    ),
    "outside_inside": Metric(
        lambda case: localization.outside_share(case.saliency, case.batch.mask),
        False,
        "mask",
        usual=False,
        range=SHARE,
    ),
    "iou": Metric(
        lambda case: segmentation.iou(case.saliency, case.batch.mask), True, "mask", usual=False, range=SHARE
    ),
    "iou_best": Metric(
        lambda case: segmentation.iou_curves(case.saliency, case.batch.mask),
        True,
        "mask",
        lambda curves, _: segmentation.at_best_threshold(curves),
        range=SHARE,
    ),
    "dice": Metric(
        lambda case: segmentation.dice(case.saliency, case.batch.mask), True, "mask", usual=False, range=SHARE
    ),
    "dice_best": Metric(
        lambda case: segmentation.dice_curves(case.saliency, case.batch.mask),
        True,
        "mask",
        lambda curves, _: segmentation.at_best_threshold(curves),
        usual=False,
        range=SHARE,
    ),
    "max_box": Metric(
        lambda case: boxes.box_iou_curves(case.saliency, case.batch.truth_boxes),
        True,
        "boxes",
        lambda curves, _: boxes.max_box_accuracy(curves),
        usual=False,
        range=SHARE,
    ),
    "part_correlation": Metric(lambda case: case.over_parts(causal.rank_correlation), True, "parts", range=CORRELATION),
    "top_part": Metric(lambda case: case.over_parts(causal.top_part_hit), True, "parts", hit=1),
    "causal_overlap": Metric(lambda case: case.causal_overlap, True, "parts", range=SHARE),
    "causal_insertion": Metric(
        lambda case: case.causal_insertion, True, "sets of parts", usual=False, of_probabilities=SHARE
    ),
    "consistency": Metric(
        lambda case: case.at_parts(),
        True,
        "part points",
        lambda found, prototypes: part_points.consistency(*_bools(found), prototypes),
        Over.CLASS,
        usual=False,
        hit=100,
    ),
    "stability": Metric(
        lambda case: case.at_parts_twice(),
        True,
        "part points",
        lambda found, prototypes: part_points.stability(*_bools(found), prototypes),
        Over.CLASS,
        usual=False,
        range=PERCENT,
    ),
    "purity": Metric(
        lambda case: case.in_patches(),
        True,
        "part points",
        lambda found, prototypes: part_points.purity(*_bools(found[:, :2]), prototypes, found[:, 2, 0]),
        Over.MOST_SIMILAR,
        usual=False,
        beside=lambda batch: [str(tuple(batch.data.part_names))] * len(batch.positions),  # sides are merged by name
        range=SHARE,
    ),
    "steadiness": Metric(
        lambda case: sanity.map_correlation(case.saliency, case.maps(UNSEEN_NOISE)),
        True,
        usual=False,
        range=CORRELATION,
    ),
    "steady_tenth": Metric(
        lambda case: steadiness.shared_first(case.saliency, case.maps(UNSEEN_NOISE)),
        True,
        usual=False,
        range=SHARE,
    ),
    "max_sensitivity": Metric(lambda case: case.max_sensitivity, False, usual=False, range=FROM_ZERO),
    "randomisation": Metric(
        lambda case: sanity.map_correlation(case.saliency, case.maps(RANDOMISED)),
        False,
        "parameters",
        usual=False,
        range=CORRELATION,
    ),
}

METRICS |= {
    "random_logit": Metric(
        lambda case: sanity.map_correlation(case.saliency, case.maps(ANOTHER_CLASS)),
        False,
        "classes",
        usual=False,
        range=CORRELATION,
    ),
    "sparseness": Metric(lambda case: simplicity.sparseness(case.saliency), True, usual=False, range=SHARE),
    "complexity": Metric(lambda case: simplicity.map_entropy(case.saliency), False, usual=False, range=SHARE),
    "distinctiveness": Metric(
        lambda case: prototype_sets.distinctiveness(*case.siblings),
        True,
        "prototypes",
        usual=False,
        range=SHARE,
    ),
    "comprehensiveness": Metric(
        lambda case: case.comprehensiveness,
        True,
        "mask of prototypes",
        usual=False,
        range=SHARE,
    ),
    "explanation_size": Metric(
        lambda case: case.batch.explanation_size, False, "last layer", usual=False, range=FROM_ZERO
    ),
    "discrimination": Metric(
        lambda case: case.batch.similarities_and_classes,
        True,
        "prototypes",
        lambda found, prototypes: _discrimination(found, prototypes),
        Over.IMAGES,
        usual=False,
        beside=lambda batch: [str(label) for label in batch.labels.tolist()],
        range=SHARE,
    ),
}

SHARES_OF_WHOLE = frozenset(
    {
        *("insertion", "deletion", "average_drop", "gain", "region_deletion", "kept_first", "road", "mas_insertion"),
        *("mas_deletion", "adcc", "relevance_ordering", "misalignment"),
    }
)
"""metrics that are undefined where the score of the whole image is zero or negative; of probabilities only those that
their papers divide, as the average drop"""

HIGHER_IS_BETTER: dict[str, bool] = {name: metric.higher_is_better for name, metric in METRICS.items()}


def _discrimination(found: Tensor, prototypes: Tensor) -> Tensor:
    """Give each prototype its value, over images that are there once."""
    distinct = prototypes.unique()
    return prototype_sets.discrimination(found[:, 0, distinct], found[:, 1, distinct] > 0.5).float()


def _bools(found: Tensor) -> tuple[Tensor, Tensor]:
    """Give the two planes (n, K) of (n, 2, K) numbers."""
    first, second = (found > 0.5).unbind(1)
    return first, second
