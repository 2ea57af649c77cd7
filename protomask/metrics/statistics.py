"""How sure is a mean? Bootstrap confidence intervals over pairs (percentile method, Efron 1979), seeded and vectorised.

The pairs are the sample: methods are compared on the same pairs, by resampling the differences. Percentile intervals
are a little too narrow for few pairs (below 20 or so).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from protomask.errors import InputError

RESAMPLES = 10_000
CHUNK = 4_000_000
"""Drawn indices held at a time."""


class Interval(NamedTuple):
    """A mean and its confidence interval; NaN where undefined."""

    mean: float
    low: float
    high: float
    n: int
    """values that counted"""

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def bootstrap_mean(values: Tensor, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interval of the mean of ``values`` (n,); NaNs are left out.

    One value alone has a mean and no interval (NaN); none has neither.

    >>> bootstrap_mean(torch.tensor([1.0, 1.0, torch.nan, 1.0]))
    Interval(mean=1.0, low=1.0, high=1.0, n=3)
    """
    return bootstrap_means(values[:, None], resamples=resamples, confidence=confidence, seed=seed)[0]


def bootstrap_difference(
    a: Tensor, b: Tensor, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of mean(a) - mean(b) over the pairs (n,) in which neither is NaN; paired: both are resampled alike."""
    if a.shape != b.shape:
        raise InputError(f"paired values of shape {tuple(a.shape)} and {tuple(b.shape)}; give both for the same pairs")
    return bootstrap_mean(a.double() - b.double(), resamples=resamples, confidence=confidence, seed=seed)


def bootstrap_means(
    columns: Tensor, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """:func:`bootstrap_mean` of every column of ``columns`` (n, C); columns with the same NaNs share their draws."""
    columns = columns.double().cpu()
    valid = ~columns.isnan()
    patterns, pattern = valid.unique(dim=1, return_inverse=True)
    intervals: dict[int, Interval] = {}
    for each, rows in enumerate(patterns.unbind(1)):
        members = (pattern == each).nonzero().flatten()
        values = columns[rows][:, members]
        low, high = _bounds(values, resamples, confidence, seed)
        for member, *numbers in zip(members.tolist(), values.mean(0).tolist(), low.tolist(), high.tolist()):
            intervals[member] = Interval(*numbers, len(values))
    return [intervals[column] for column in range(columns.shape[1])]


def bootstrap_band(
    curves: Tensor, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean curve and its pointwise band.

    Args:
        curves: (n, T); rows with a NaN are left out.

    Returns:
        mean, low, high: (T,) each, float64; NaN without a row, and for the band with one row only.
    """
    curves = curves.double().cpu()
    curves = curves[~curves.isnan().any(1)]
    return curves.mean(0), *_bounds(curves, resamples, confidence, seed)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share among ``count`` independent cases; unlike the bootstrap it has a width
    at 0 and 1."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _bounds(values: Tensor, resamples: int, confidence: float, seed: int) -> tuple[Tensor, Tensor]:
    """Percentiles (T,) of the resampled means of ``values`` (n, T); NaN for less than two rows."""
    if resamples < 1 or not 0 < confidence < 1:
        raise InputError(
            f"bootstrap: {resamples} resamples, confidence {confidence}; "
            "give at least one resample and a confidence between 0 and 1"
        )
    n = len(values)
    if n < 2:
        return values.new_full(values.shape[1:], torch.nan), values.new_full(values.shape[1:], torch.nan)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for first in range(0, resamples, max(1, CHUNK // n)):
        rows = min(max(1, CHUNK // n), resamples - first)
        drawn = torch.randint(n, (rows, n), generator=generator)
        # How often each value was drawn, times the values: all columns at once, and no (rows, n, T) tensor.
        counts = torch.zeros(rows, n, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        means.append(counts @ values / n)
    tail = (1 - confidence) / 2
    low, high = torch.quantile(torch.cat(means), torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return low, high
