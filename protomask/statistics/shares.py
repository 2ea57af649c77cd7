"""How sure is a share, and a difference of two shares of the same images? Score and exact intervals for 0/1 values.

A bootstrap has no width where all values are 1, and is too narrow near there; these are not. Several values of one
image count, at worst, as one: the number of images that such values are worth is Kish's (sum m)^2 / sum m^2.
"""

from __future__ import annotations

import math

from torch import Tensor

from protomask.statistics.intervals import Interval

Z = 1.959964
"""97.5 % quantile of the normal distribution"""


def wilson(share: float, count: float, z: float = Z) -> tuple[float, float]:
    """Find Wilson's score interval (1927) of a share of ``count`` independent cases; unlike the bootstrap's it has a
    width at 0 and 1."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def clopper_pearson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Find the exact interval (1934) of ``hits`` among ``count``: it holds the truth at least as often as it says.

    Neither need be whole: the quantiles are those of beta distributions.
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def newcombe(both: float, first: float, second: float, neither: float) -> tuple[float, float, float]:
    """Find the difference of two shares of the same cases, and its 95 % interval: Newcombe's method 10 (1998).

    Args:
        both, first, second, neither: cases with a hit of both, of the first alone, of the second alone, of none; need
            not be whole.

    Returns:
        (difference, low, high)
    """
    count = both + first + second + neither
    one, other = (both + first) / count, (both + second) / count
    (low_1, high_1), (low_2, high_2) = wilson(one, count), wilson(other, count)
    size = math.sqrt((both + first) * (second + neither) * (both + second) * (first + neither))
    cross = both * neither - first * second
    cross = max(cross - count / 2, 0.0) if cross > 0 else cross
    phi = cross / size if size > 0 else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    difference = one - other
    return (
        difference,
        difference - reach(one - low_1, high_2 - other),
        difference + reach(high_1 - one, other - low_2),
    )


def share_interval(values: Tensor, hit: float = 1.0, groups: Tensor | None = None) -> Interval:
    """Find the mean of values (n,) that are 0 or ``hit``, and its Clopper-Pearson interval; NaNs are left out.

    Wilson's is shorter, but of 50 images with a true share of .98 it holds the truth in 92 % of samples.

    >>> share_interval(torch.ones(18)).low > 0.8
    True
    """
    kept = ~values.isnan()
    found, count, worth, images = values[kept].double(), int(kept.sum()), *_worth(kept, groups)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    share = float(found.mean()) / hit
    low, high = clopper_pearson(share * worth, worth)
    return Interval(hit * share, hit * low, hit * high, count, images)


def paired_share_interval(a: Tensor, b: Tensor, hit: float = 1.0, groups: Tensor | None = None) -> Interval:
    """Find mean(a) - mean(b) of values (n,) that are 0 or ``hit``, with Newcombe's paired interval, without NaNs."""
    kept = ~(a.isnan() | b.isnan())
    count, worth, images = int(kept.sum()), *_worth(kept, groups)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    one, other = a[kept] > hit / 2, b[kept] > hit / 2
    cells = [one & other, one & ~other, ~one & other, ~one & ~other]
    found = newcombe(*(float(cell.sum()) * worth / count for cell in cells))
    mean, low, high = (hit * number for number in found)
    return Interval(mean, low, high, count, images)


def _worth(kept: Tensor, groups: Tensor | None) -> tuple[float, int]:
    """How many independent values the kept ones are worth at worst, and the images that they come from."""
    if groups is None:
        return float(kept.sum()), int(kept.sum())
    sizes = groups.cpu()[kept.cpu()].unique(return_counts=True)[1].double()
    return float(sizes.sum() ** 2 / sizes.square().sum()) if len(sizes) else 0.0, len(sizes)
