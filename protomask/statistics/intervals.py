"""How sure is a mean? Studentised bootstrap intervals (Efron 1979; Hall 1988), resampling images, seeded, vectorised.

The percentile bootstrap is far too sure of itself for few images and for skewed values. Here each resampled mean is
divided by its own standard error, and each tail of a 95 % interval is .025 n / (n + 15) instead of .025, because few
images show too little of a long tail. ``benchmarks/coverage.py`` shows how often such intervals hold the truth. Where
too few values differ for the resamples to tell, there is no interval.

What is resampled are images (``groups``): several values of one image are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from protomask.errors import InputError

RESAMPLES = 10_000
CHUNK = 4_000_000
"""Drawn indices held at a time."""
FEW = 10
"""Images below which values other than 0/1 have no interval, and curves no band: none was found to hold the truth often
enough."""
CAUTION = 15
"""The tails of n images are shortened by n / (n + CAUTION)."""
ROUNDING = 1e-13
"""Variances of less than this share of the squares are rounding of float32: such values are equal."""


class Interval(NamedTuple):
    """A mean and its confidence interval; NaN where undefined."""

    mean: float
    low: float
    high: float
    n: int
    """values that counted"""
    units: int | None = None
    """independent ones among them (images)"""

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def within(self, least: float, most: float) -> Interval:
        """Cut the ends to what a mean of values from ``least`` to ``most`` can be.

        Resamples of few or skewed values reach beyond it. A mean that rounding puts beyond it stays in its interval.

        >>> Interval(0.9, 0.7, 1.2, 12).within(0, 1).high
        1
        """
        least, most = min(least, self.mean), max(most, self.mean)
        return self._replace(low=min(max(self.low, least), most), high=min(max(self.high, least), most))


def bootstrap_mean(
    values: Tensor,
    groups: Tensor | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Find the interval of the mean of ``values`` (n,); NaNs are left out.

    >>> bootstrap_mean(torch.tensor([0.0, 1.0] * 20)).mean
    0.5

    Args:
        groups: (n,) long, which values come from one image; by default each is an image of its own.

    Returns:
        No interval (NaN) for fewer than ten images, for equal values, and where so few differ from the commonest that
        resamples without any are not rare.
    """
    return bootstrap_means(values[:, None], groups, resamples=resamples, confidence=confidence, seed=seed)[0]


def bootstrap_difference(
    a: Tensor,
    b: Tensor,
    groups: Tensor | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Find the interval of mean(a) - mean(b) over the pairs (n,) in which neither is NaN; both are resampled alike."""
    if a.shape != b.shape:
        raise InputError(f"paired values of shape {tuple(a.shape)} and {tuple(b.shape)}; give both for the same pairs")
    return bootstrap_mean(a.double() - b.double(), groups, resamples=resamples, confidence=confidence, seed=seed)


def bootstrap_means(
    columns: Tensor,
    groups: Tensor | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Call :func:`bootstrap_mean` on every column (n, C); columns with the same NaNs share their draws."""
    _check(resamples, confidence)
    intervals: dict[int, Interval] = {}
    for members, values, home in alike(columns, groups):
        sums, sizes = group_sums(values, home)
        low, high = _studentised(sums, sizes, resamples, confidence, seed)
        for member, mean, *bounds in zip(members.tolist(), values.mean(0).tolist(), low.tolist(), high.tolist()):
            intervals[member] = Interval(mean, bounds[0], bounds[1], len(values), len(sizes))
    return [intervals[column] for column in range(columns.shape[1])]


def bootstrap_band(
    curves: Tensor,
    groups: Tensor | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the mean curve and its pointwise band by percentiles: a picture, by which nothing is decided.

    Args:
        curves: (n, T); rows with a NaN are left out.
        groups: (n,) as in :func:`bootstrap_mean`.

    Returns:
        mean, low, high: (T,) each, float64; NaN without a row, and for the band with fewer than ten images.
    """
    _check(resamples, confidence)
    kept = ~curves.isnan().any(1).cpu()
    curves = curves.double().cpu()[kept]
    sums, sizes = group_sums(curves, torch.arange(len(curves)) if groups is None else groups.cpu()[kept])
    if len(sizes) < FEW:
        empty = curves.new_full(curves.shape[1:], torch.nan)
        return curves.mean(0), empty, empty
    means = torch.cat([counts @ sums / (counts @ sizes)[:, None] for counts in _draws(len(sizes), resamples, seed)])
    tail = (1 - confidence) / 2
    return curves.mean(0), *torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)


def alike(columns: Tensor, groups: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Group columns that are undefined in the same rows: their numbers, values (n', C') without NaN, groups
    (n',)."""
    columns = columns.double().cpu()
    home = torch.arange(len(columns)) if groups is None else groups.cpu()
    if len(home) != len(columns):
        raise InputError(f"{len(home)} groups for {len(columns)} values; give each value's image")
    if not columns.numel():  # unique() takes no empty ones
        if columns.shape[1]:
            yield torch.arange(columns.shape[1]), columns, home
        return
    patterns, pattern = (~columns.isnan()).unique(dim=1, return_inverse=True)
    for each, rows in enumerate(patterns.unbind(1)):
        members = (pattern == each).nonzero().flatten()
        yield members, columns[rows][:, members], home[rows]


def group_sums(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Sum up (k, C) the values (n, C) of each group, and how many there are of each (k,), both float64."""
    _, home = groups.unique(return_inverse=True)
    count = int(home.max()) + 1 if len(home) else 0
    sums = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add_(0, home, values.double())
    return sums, home.bincount(minlength=count).double()


def _studentised(sums: Tensor, sizes: Tensor, resamples: int, confidence: float, seed: int) -> tuple[Tensor, Tensor]:
    """Bounds (C,) of the means from sums (k, C) of k images with ``sizes`` (k,) values each."""
    images, total = len(sizes), sizes.sum()
    undefined = sums.new_full(sums.shape[1:], torch.nan)
    if images < FEW:
        return undefined, undefined
    mean = sums.sum(0) / total
    rest = sums - sizes[:, None] * mean
    spread = rest.square().sum(0)
    factor = images / (images - 1)
    error = (factor * spread).sqrt() / total
    ratios = []
    for counts in _draws(images, resamples, seed):
        drawn = (counts @ sizes)[:, None]
        moved = counts @ rest / drawn
        left = (
            counts @ rest.square()
            - 2 * moved * (counts @ (rest * sizes[:, None]))
            + (moved.square() * (counts @ sizes.square())[:, None])
        )
        left = torch.where(left > 1e-9 * spread, left, 0.0)
        ratios.append((moved * drawn / (factor * left).sqrt()).nan_to_num(0.0, torch.inf, -torch.inf))
    ordered = torch.cat(ratios).sort(0).values
    tail = int((1 - confidence) / 2 * images / (images + CAUTION) * resamples)
    low, high = mean - ordered[resamples - 1 - tail] * error, mean - ordered[tail] * error
    given = low.isfinite() & high.isfinite() & (spread > ROUNDING * sums.square().sum(0))
    return torch.where(given, low.minimum(mean), torch.nan), torch.where(given, high.maximum(mean), torch.nan)


def _draws(count: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """How often each of ``count`` images was drawn, (rows, count) float64, until there are ``resamples`` rows."""
    generator = torch.Generator().manual_seed(seed)
    step = max(1, CHUNK // count)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        drawn = torch.randint(count, (rows, count), generator=generator)
        counts = torch.zeros(rows, count, dtype=torch.float64)
        yield counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1 or not 0 < confidence < 1:
        raise InputError(
            f"bootstrap: {resamples} resamples, confidence {confidence}; "
            "give at least one resample and a confidence between 0 and 1"
        )
