"""The metrics that an evaluation knows by name. A further metric is one more entry.

``measure`` gets a :class:`protomask.evaluation.cases.Case` (the pairs of one batch with the maps of one localizer) and gives one
value per pair, NaN where the metric is undefined. What several metrics share, the case computes once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from protomask.metrics import causal, faithfulness, localization


class Metric(NamedTuple):
    measure: Callable[[Any], Tensor]
    """case -> (B,)"""
    higher_is_better: bool
    needs: str | None = None
    """what the data must hold: ``"boxes"``, ``"mask"`` or ``"parts"``; None: nothing"""


METRICS: dict[str, Metric] = {
    # The score is divided by its value on the whole image; drops and gains are percentages of that value.
    "insertion": Metric(lambda case: case.insertion.auc, True),
    "deletion": Metric(lambda case: case.deletion.auc, False),
    "average_drop": Metric(lambda case: faithfulness.average_drop(case.batch.whole, case.kept), False),
    "increase": Metric(lambda case: faithfulness.increase_in_confidence(case.batch.whole, case.kept), True),
    "gain": Metric(lambda case: faithfulness.relative_gain(case.batch.whole, case.kept), True),
    "pointing_box": Metric(lambda case: case.pointing(case.batch.boxes), True, "boxes"),
    "pointing_mask": Metric(lambda case: case.pointing(case.batch.mask), True, "mask"),
    "energy_box": Metric(lambda case: localization.energy_pointing(case.saliency, case.batch.boxes), True, "boxes"),
    "energy_mask": Metric(lambda case: localization.energy_pointing(case.saliency, case.batch.mask), True, "mask"),
    "part_correlation": Metric(lambda case: case.over_parts(causal.rank_correlation), True, "parts"),
    "top_part": Metric(lambda case: case.over_parts(causal.top_part_hit), True, "parts"),
}

HIGHER_IS_BETTER: dict[str, bool] = {name: metric.higher_is_better for name, metric in METRICS.items()}
