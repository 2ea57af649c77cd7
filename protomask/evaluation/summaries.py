"""From raw values to means with intervals, and to paired differences with corrected verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from protomask.evaluation.catalogue import HIGHER_IS_BETTER, METRICS, Range
from protomask.statistics import Comparison, Interval, bootstrap_band, bootstrap_means, compare_values, share_interval

Number = float | None
"""None is an undefined value: a pair that a metric does not count, a mean of none, an interval of too few."""
Values = Mapping[str, Mapping[str, Tensor]]
"""localizer -> metric -> (n,) values, NaN where undefined"""


def mean_rows(
    values: Values,
    groups: Mapping[str, Tensor],
    seconds_per_map: Mapping[str, float],
    seed: int,
    of_probabilities: bool = False,
) -> list:
    """Give a row per metric and localizer; ``groups`` (metric -> (n,)) says which values come from one image."""
    found: dict[tuple[str, str], Interval] = {}
    metrics = list(next(iter(values.values())))
    for localizer, columns in values.items():
        for metric in metrics:
            if hit := hit_of(metric):
                found[localizer, metric] = share_interval(columns[metric].cpu(), hit, groups.get(metric))
    for kind in _of_one_length([metric for metric in metrics if not hit_of(metric)], values, groups):
        keys = [(localizer, metric) for localizer in values for metric in kind]
        stacked = torch.stack([values[localizer][metric].double().cpu() for localizer, metric in keys], 1)
        drawn = zip(keys, bootstrap_means(stacked, groups.get(kind[0]), seed=seed))
        found |= {key: each.within(*range_of(key[1], of_probabilities)) for key, each in drawn}
    return [
        {
            "localizer": localizer,
            "metric": metric,
            "mean": number(found[localizer, metric].mean),
            "ci_low": number(found[localizer, metric].low),
            "ci_high": number(found[localizer, metric].high),
            "n": found[localizer, metric].n,
            "images": found[localizer, metric].units,
            "seconds_per_map": number(seconds_per_map[localizer]),
        }
        for localizer in values
        for metric in metrics
    ]


def comparison_rows(
    values: Values, groups: Mapping[str, Tensor], seed: int, of_probabilities: bool = False
) -> list[dict]:
    """Give a row per metric and two localizers; verdicts are corrected over the metrics of each two."""
    metrics = list(next(iter(values.values())))
    hits = {metric: hit for metric in metrics if (hit := hit_of(metric))}
    found: dict[tuple[str, str], dict[str, Comparison]] = {
        (a, b): compare_values(values[a], values[b], hits=hits, groups=groups, seed=seed)
        for a, b in itertools.combinations(values, 2)
    }
    return [
        _comparison_row(metric, a, b, found[a, b][metric], range_of(metric, of_probabilities))
        for metric in metrics
        for a, b in found
    ]


def band(curves: Tensor, groups: Tensor | None, seed: int) -> dict[str, list[Number]]:
    """Draw the band of curves (n, T); 2000 resamples are enough for a picture."""
    found = bootstrap_band(curves, groups, resamples=2000, seed=seed)
    return dict(zip(("mean", "ci_low", "ci_high"), map(numbers, found)))


def higher_is_better(metric: str) -> bool:
    """Tell whether higher is better; taken to be so for a metric that somebody else registered."""
    return HIGHER_IS_BETTER.get(metric, True)


def hit_of(metric: str) -> float | None:
    """Give the value of a hit (1 or 100), for metrics whose values are 0 or that."""
    return METRICS[metric].hit if metric in METRICS else None


def range_of(metric: str, of_probabilities: bool = False) -> Range:
    """Give the least and the greatest value of a metric; any number for one that somebody else registered."""
    if metric not in METRICS:
        return -math.inf, math.inf
    own = METRICS[metric].of_probabilities if of_probabilities else None
    return own or METRICS[metric].range


def unit_of(metric: str) -> str:
    """Name what was resampled, and what ``images`` and ``images_needed`` of a metric's rows count."""
    return "prototypes" if metric in METRICS and METRICS[metric].of_prototypes else "images"


def number(value: float) -> Number:
    """Round to seven digits, more than float32 holds; None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(f"{value:.7g}")


def numbers(values: Tensor) -> list[Number]:
    return [number(value) for value in values.tolist()]


def _comparison_row(metric: str, a: str, b: str, found: Comparison, span: Range) -> dict:
    interval = found.interval.within(span[0] - span[1], span[1] - span[0])  # the verdict is that of the whole one

    def name(sign: int) -> str:
        return "undecided" if not sign else a if (sign > 0) == higher_is_better(metric) else b

    return {
        "metric": metric,
        "a": a,
        "b": b,
        "difference": number(interval.mean),
        "ci_low": number(interval.low),
        "ci_high": number(interval.high),
        "better": name(found.sign),
        "better_alone": name(found.raw_sign),
        "p": number(found.p),
        "p_corrected": number(found.p_corrected),
        "n": found.interval.n,
        "images": found.interval.units,
        "images_needed": found.needed,
    }


def _of_one_length(metrics: list[str], values: Values, groups: Mapping[str, Tensor]) -> list[list[str]]:
    """Metrics whose values belong to the same cases, together."""
    first = next(iter(values.values()))
    found: dict[tuple[int, bool], list[str]] = {}
    for metric in metrics:
        found.setdefault((len(first[metric]), metric in groups), []).append(metric)
    return list(found.values())
