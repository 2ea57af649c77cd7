"""How sure is a figure, and who is ahead? Intervals, tests, and verdicts corrected for many metrics at once."""

from protomask.statistics.comparing import (
    LEVEL,
    Comparison,
    compare_hits,
    compare_values,
    holm,
    images_needed,
    least_images,
    sign_flip_p,
    sign_test,
)
from protomask.statistics.intervals import (
    Interval,
    bootstrap_band,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_means,
)
from protomask.statistics.shares import clopper_pearson, newcombe, paired_share_interval, share_interval, wilson

__all__ = [
    "LEVEL",
    "Comparison",
    "Interval",
    "bootstrap_band",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_means",
    "clopper_pearson",
    "compare_hits",
    "compare_values",
    "holm",
    "images_needed",
    "least_images",
    "newcombe",
    "paired_share_interval",
    "share_interval",
    "sign_flip_p",
    "sign_test",
    "wilson",
]
