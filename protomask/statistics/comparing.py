"""Who is ahead? Paired differences tested by sign flips, corrected for all metrics of a comparison (Holm 1979).

Two rules give a verdict together: the p-value, corrected by Holm's method over all metrics in which the two were
compared, is at most .05, and the 95 % interval of the difference excludes zero (where there is one: equal differences
have none). Values other than 0/1 of fewer than ten images decide nothing. Without the correction, 28 metrics of two
localizers that differ by noise alone would name one of them ahead somewhere in most evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.statistics.intervals import CHUNK, FEW, Interval, alike, bootstrap_means, group_sums
from protomask.statistics.shares import Z, newcombe, paired_share_interval

LEVEL = 0.05
FLIPS = 20_000
"""random sign patterns; of up to 14 images all that there are are tried"""
POWER_Z = 0.841621
"""80 % quantile of the normal distribution: the power that :func:`images_needed` asks for"""


@dataclass(frozen=True)
class Comparison:
    """One metric's paired difference of two methods."""

    interval: Interval
    """of mean(a) - mean(b), by itself, not corrected"""
    p: float
    """of the sign-flip test, by itself; NaN where nothing was compared"""
    p_corrected: float
    """by Holm's method over the metrics compared together"""
    needed: int | None
    """about how many images such a difference would need; None where no difference was seen"""

    @property
    def sign(self) -> int:
        """1 where a's mean is greater by the corrected verdict, -1 where it is less, 0 where that is undecided."""
        return self.raw_sign if self.p_corrected <= LEVEL else 0

    @property
    def raw_sign(self) -> int:
        """The same by the metric alone: by its interval, or by its p-value where ten images or more have none."""
        mean, low, *_ = self.interval
        if math.isnan(low):
            clear = (self.interval.units or 0) >= FEW and self.p <= LEVEL
        else:
            clear = self.interval.excludes_zero
        return (mean > 0) - (mean < 0) if clear else 0


def compare_values(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    hits: Mapping[str, float] | None = None,
    groups: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare two methods in all metrics that both have, corrected together.

    Args:
        a, b: metric -> (n,) values of the same cases, NaN where undefined; n may differ between metrics.
        hits: the value of a hit (1 or 100) of each metric whose values are 0 or that.
        groups: metric -> (n,) long, the image of each case; by default each case is an image of its own.
        seed: of resamples and sign flips.

    Raises:
        InputError: values of other lengths.
    """
    hits, groups = hits or {}, groups or {}
    names = [name for name in a if name in b]
    for name in names:
        if a[name].shape != b[name].shape:
            raise InputError(f"{name}: paired values of shape {tuple(a[name].shape)} and {tuple(b[name].shape)}")
    intervals: dict[str, Interval] = {}
    chances: dict[str, float] = {}
    for together in _same_groups(names, a, groups):
        home = groups.get(together[0])
        columns = torch.stack([a[name].double().cpu() - b[name].double().cpu() for name in together], 1)
        chances |= dict(zip(together, sign_flip_p(columns, home, seed=seed).tolist()))
        other = [place for place, name in enumerate(together) if name not in hits]
        found = bootstrap_means(columns[:, other], home, seed=seed) if other else []
        intervals |= {together[place]: interval for place, interval in zip(other, found)}
        for name in together:
            if name in hits:
                intervals[name] = paired_share_interval(a[name].cpu(), b[name].cpu(), hits[name], home)
    corrected = dict(zip(names, holm([chances[name] for name in names])))
    tested = sum(not math.isnan(chances[name]) for name in names)
    return {
        name: Comparison(
            intervals[name],
            chances[name],
            corrected[name],
            images_needed(a[name].cpu() - b[name].cpu(), groups.get(name), level=LEVEL / max(1, tested)),
        )
        for name in names
    }


def compare_hits(before: int, won: int, lost: int, count: int) -> Comparison:
    """Compare hits among the same ``count`` images before and after a change, by counts: after less before.

    The verdict is that of 0/1 values in :func:`compare_values`: the exact sign test, and Newcombe's paired interval.

    >>> [compare_hits(40, won, 0, 50).sign for won in (5, 6)]
    [0, 1]

    Args:
        before: hits before.
        won: images with a hit after that had none before.
        lost: images that lost theirs.
        count: images.

    Raises:
        InputError: more images changed than there are.
    """
    if won + lost > count:
        raise InputError(f"{won + lost} images changed of {count}; give the number of all images")
    if not count:
        return Comparison(Interval(math.nan, math.nan, math.nan, 0, 0), math.nan, math.nan, None)
    both = min(max(before - lost, 0), count - won - lost)
    p = sign_test(won, won + lost)
    return Comparison(Interval(*newcombe(both, won, lost, count - won - lost - both), count, count), p, p, None)


def holm(chances: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's step-down method (1979): the chance of even one false finding is at most the level.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    NaN stays, and does not count.
    """
    order = sorted((p, place) for place, p in enumerate(chances) if not math.isnan(p))
    corrected, highest = [math.nan] * len(chances), 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[place] = highest
    return corrected


def sign_flip_p(differences: Tensor, groups: Tensor | None = None, *, flips: int = FLIPS, seed: int = 0) -> Tensor:
    """Give two-sided p-values (C,) of paired ``differences`` (n, C): how often is the sum as large with random signs?

    Known: the paired randomisation test (Fisher 1935), exact where the two methods are exchangeable, whatever the
    distribution. All differences of one image keep one sign. For 0/1 values it is McNemar's exact test, that is the
    sign test. NaNs are left out; a column without values gives NaN.
    """
    found = torch.full((differences.shape[1],), torch.nan, dtype=torch.float64)
    for members, values, home in alike(differences, groups):
        if len(values):
            found[members] = _flipped(group_sums(values, home)[0], flips, seed)
    return found


@cache
def sign_test(positive: int, count: int) -> float:
    """Give the two-sided p-value of ``positive`` differences above zero among ``count`` that are not zero; exact.

    >>> round(sign_test(2, 11), 3)
    0.065
    """
    from scipy.stats import binomtest

    return float(binomtest(positive, count).pvalue) if count else 1.0


def least_images(level: float = LEVEL) -> int:
    """Give the fewest images that can decide anything: with fewer even differences of one sign have a greater p-value.

    >>> least_images(), least_images(0.05 / 28)
    (6, 11)
    """
    return math.ceil(math.log2(2 / level))


def images_needed(
    differences: Tensor, groups: Tensor | None = None, *, level: float = LEVEL, z_power: float = POWER_Z
) -> int | None:
    """Estimate how many images a difference of the size and spread just seen needs to be found in four of five trials.

    n = (z_level + z_power)^2 variance / mean^2, per image, but no fewer than can decide anything. A small sample's
    difference is itself uncertain, and so is this number.

    Returns:
        None where there is no difference, or too little to tell.
    """
    from scipy.stats import norm

    ((_, values, home),) = alike(differences[:, None], groups)
    sums, sizes = group_sums(values, home)
    if len(sizes) < 2 or not float(sums.sum()):
        return None
    mean = sums.sum() / sizes.sum()
    spread = (sums - sizes[:, None] * mean).square().sum() * len(sizes) / (len(sizes) - 1) / sizes.mean() ** 2
    z = float(norm.ppf(1 - level / 2)) if level != LEVEL else Z
    needed = (z + z_power) ** 2 * float(spread / len(sizes)) / float(mean) ** 2
    return max(FEW, least_images(level), math.ceil(needed)) if math.isfinite(needed) else None


def _same_groups(names: list[str], values: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> list[list[str]]:
    found: dict[tuple, list[str]] = {}
    for name in names:
        home = groups.get(name)
        found.setdefault((len(values[name]), None if home is None else tuple(home.tolist())), []).append(name)
    return list(found.values())


def _flipped(sums: Tensor, flips: int, seed: int) -> Tensor:
    """p-values (C,) of sums (k, C) of k images."""
    found = torch.ones(sums.shape[1], dtype=torch.float64)
    open_ = []
    for column, values in enumerate(sums.unbind(1)):
        sizes = values[values != 0].abs()
        if not len(sizes):
            continue
        if float(sizes.max() - sizes.min()) <= 1e-12 * float(sizes.max()):
            found[column] = sign_test(int((values > 0).sum()), len(sizes))
        else:
            open_.append(column)
    if not open_:
        return found
    seen = sums[:, open_].sum(0).abs() * (1 - 1e-9)
    reached, tried = torch.zeros(len(open_), dtype=torch.float64), 0
    for signs in _sign_patterns(len(sums), flips, seed):
        reached += ((signs @ sums[:, open_]).abs() >= seen).sum(0)
        tried += len(signs)
    exact = tried == 2 ** len(sums)
    found[open_] = reached / tried if exact else (reached + 1) / (tried + 1)
    return found


def _sign_patterns(count: int, flips: int, seed: int):
    """Blocks (rows, count) of -1 and 1: all patterns if there are at most ``flips``, else so many drawn ones."""
    if count < 60 and 2**count <= flips:
        yield torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * count).view(-1, count)
        return
    generator = torch.Generator().manual_seed(seed + 1)
    step = max(1, CHUNK // count)
    for first in range(0, flips, step):
        rows = min(step, flips - first)
        yield torch.randint(2, (rows, count), generator=generator).double() * 2 - 1
