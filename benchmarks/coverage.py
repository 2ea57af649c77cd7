"""How often do the intervals hold the truth, and how often does noise alone name a winner?

    python benchmarks/coverage.py                        # 1,000 simulations each: a few minutes on two cores
    python benchmarks/coverage.py --simulations 4000

First table: the share of 95 % intervals that hold the true mean, for five shapes of values, and the share of samples
that get an interval at all (where too few values differ there is none, and no verdict). Normal, skewed (lognormal) and
mostly zero (80 %, the rest exponential) values have studentised bootstrap intervals, 0/1 values exact ones
(Clopper-Pearson). Then pairs that share images, and differences of 0/1 values (Newcombe). Second table: two methods
that differ by noise, compared in 28 metrics of all kinds; in how many runs is one of them "ahead" or "behind" anywhere?
"""

from __future__ import annotations

import argparse
import math
import sys

import torch
from torch import Tensor

from protomask.statistics import bootstrap_means, compare_values, paired_share_interval, share_interval

IMAGES = (10, 18, 30, 50, 100)
METRICS_OF_A_KIND = 7


def normal(images: int, runs: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """(images, runs) values, and their true mean"""
    return torch.randn(images, runs, generator=generator, dtype=torch.float64), 0.0


def skewed(images: int, runs: int, generator: torch.Generator) -> tuple[Tensor, float]:
    return normal(images, runs, generator)[0].exp(), math.exp(0.5)


def mostly_zero(images: int, runs: int, generator: torch.Generator) -> tuple[Tensor, float]:
    sizes = torch.empty(images, runs, dtype=torch.float64).exponential_(generator=generator)
    return torch.where(torch.rand(images, runs, generator=generator) < 0.2, sizes, 0.0), 0.2


SHAPES = {"normal": normal, "lognormal": skewed, "80 % zeros": mostly_zero}


def coverage(images: int, runs: int, shape: str, seed: int = 0) -> tuple[float, float]:
    """Share of the given intervals that hold the truth, and share of samples that have one."""
    values, truth = SHAPES[shape](images, runs, torch.Generator().manual_seed(seed))
    found = [each for each in bootstrap_means(values, resamples=4000, seed=seed) if not math.isnan(each.low)]
    return sum(each.low <= truth <= each.high for each in found) / max(1, len(found)), len(found) / runs


def coverage_of_shares(images: int, runs: int, share: float, seed: int = 0) -> tuple[float, float]:
    """The same for values that are 1 with probability ``share``, else 0."""
    generator = torch.Generator().manual_seed(seed)
    values = (torch.rand(runs, images, generator=generator) < share).double()
    found = [share_interval(each) for each in values]
    return sum(each.low <= share <= each.high for each in found) / runs, 1.0


def coverage_of_differences(images: int, runs: int, one: float, other: float, seed: int = 0) -> tuple[float, float]:
    """The same for the difference of two 0/1 values of the same image, which agree more often than by chance."""
    generator = torch.Generator().manual_seed(seed)
    shared, own = torch.rand(runs, images, generator=generator), torch.rand(2, runs, images, generator=generator)
    same = torch.rand(runs, images, generator=generator) < 0.5
    a, b = (torch.where(same, shared, each) < share for each, share in zip(own, (one, other)))
    found = [paired_share_interval(x.double(), y.double()) for x, y in zip(a, b)]
    return sum(each.low <= one - other <= each.high for each in found) / runs, 1.0


def coverage_of_shared_images(runs: int, by_image: bool, seed: int = 0) -> tuple[float, float]:
    """100 pairs from 39 images, whose values within an image correlate by .9, as pairs or as images."""
    generator = torch.Generator().manual_seed(seed)
    home = torch.randint(39, (100,), generator=generator)
    values = 3 * torch.randn(39, runs, generator=generator)[home] + torch.randn(100, runs, generator=generator)
    found = bootstrap_means(values, home if by_image else None, resamples=4000, seed=seed)
    return sum(each.low <= 0 <= each.high for each in found) / runs, 1.0


def winners_by_noise(images: int, runs: int) -> tuple[float, float]:
    """Share of runs in which noise alone names a winner anywhere: by each metric's own interval, and corrected."""
    alone = corrected = 0
    for seed in range(runs):
        found = compare_values(*noise(images, seed), hits={f"hit {k}": 1.0 for k in range(METRICS_OF_A_KIND)})
        alone += any(each.raw_sign for each in found.values())
        corrected += any(each.sign for each in found.values())
    return alone / runs, corrected / runs


def noise(images: int, seed: int) -> list[dict[str, Tensor]]:
    """Two methods' values in 28 metrics: normal, skewed, mostly zero, 0/1; those of one image are correlated."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(images, 1, generator=generator)
    draws = 0.5 * image + torch.randn(2, images, METRICS_OF_A_KIND, generator=generator)
    kinds = {
        "normal": draws,
        "skewed": draws.exp(),
        "zeros": (draws - 0.9).clamp(min=0),
        "hit": (draws > 0.5).double(),
    }
    return [
        {f"{kind} {k}": values[side, :, k] for kind, values in kinds.items() for k in range(METRICS_OF_A_KIND)}
        for side in (0, 1)
    ]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, help="of each cell (default: %(default)s)")
    runs = parser.parse_args(words).simulations
    if runs < 1:
        print("coverage: --simulations must be at least 1", file=sys.stderr)
        return 2
    print(f"| values | {' | '.join(f'n = {images}' for images in IMAGES)} |\n|---" + "|---" * len(IMAGES) + "|")
    rows = {shape: [coverage(images, runs, shape) for images in IMAGES] for shape in SHAPES}
    rows |= {f"0/1, {p}": [coverage_of_shares(images, runs, p) for images in IMAGES] for p in (0.9, 0.98)}
    rows |= {
        f"0/1, {a} - {b}": [coverage_of_differences(images, runs, a, b) for images in IMAGES]
        for a, b in ((0.9, 0.9), (0.98, 0.8))
    }
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(_cell(*cell) for cell in cells)} |")
    by_pair, by_image = (coverage_of_shared_images(runs, each)[0] for each in (False, True))
    print(f"\n100 pairs of 39 images: {by_pair:.3f} by pairs, {by_image:.3f} by images")
    print("\n| images | a winner by noise, uncorrected | corrected |\n|---|---|---|")
    for images in (10, 30, 100):
        alone, corrected = winners_by_noise(images, runs)
        print(f"| {images} | {alone:.3f} | {corrected:.3f} |")
    return 0


def _cell(covered: float, given: float) -> str:
    return f"{covered:.3f}" + (f" ({100 * given:.0f} % given)" if given < 1 else "")


if __name__ == "__main__":
    sys.exit(main())
