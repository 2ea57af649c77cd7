"""Tests, corrections and verdicts against published numbers, scipy and slow plain versions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from protomask.errors import InputError
from protomask.statistics import (
    clopper_pearson,
    compare_hits,
    compare_values,
    holm,
    images_needed,
    least_images,
    newcombe,
    paired_share_interval,
    share_interval,
    sign_flip_p,
)


def test_newcombes_published_example():
    """Newcombe (1998), table of paired examples: 36, 12, 2, 0 gives 0.0569 to 0.3404 by method 10."""
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_shares_have_a_width_at_one():
    found = share_interval(torch.full((18,), 100.0), 100)
    assert found.mean == found.high == 100 and found.low == pytest.approx(100 * 0.025 ** (1 / 18))
    exact = stats.binomtest(13, 18).proportion_ci(method="exact")
    assert clopper_pearson(13, 18) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("share", [0.9, 0.98])
def test_shares_are_covered_whatever_the_luck(share):
    """By the binomial distribution itself: no simulation. Wilson's interval has .92 at 50 images and .98."""
    for count in (10, 18, 50):
        held = 0.0
        for hits in range(count + 1):
            found = share_interval((torch.arange(count) < hits).double())
            held += stats.binom.pmf(hits, count, share) * (found.low <= share <= found.high)
        assert held >= 0.95


def test_equal_shares_differ_by_nothing():
    same = paired_share_interval(torch.ones(18), torch.ones(18))
    assert same.low < 0 < same.high and same.mean == 0


def test_pairs_of_one_image_count_as_one_image_at_worst():
    values, home = torch.tensor([1.0, 0.0] * 15).repeat_interleave(4), torch.arange(30).repeat_interleave(4)
    assert share_interval(values, groups=home)[:3] == pytest.approx(share_interval(values[::4])[:3])
    other = 1 - values
    other[:40] = values[:40]
    assert paired_share_interval(values, other, groups=home)[:3] == pytest.approx(
        paired_share_interval(values[::4], other[::4])[:3]
    )


def test_sign_flips_equal_all_patterns_by_hand_and_scipy():
    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4
    for column, p in zip(values.T, sign_flip_p(values)):
        sums = [
            abs(sum(s * v for s, v in zip(signs, column.tolist()))) for signs in itertools.product((-1, 1), repeat=9)
        ]
        assert p == pytest.approx(np.mean([each >= abs(column.sum().item()) - 1e-12 for each in sums]))
        by_scipy = stats.permutation_test((column.numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p == pytest.approx(by_scipy.pvalue)


def test_of_zeros_and_ones_it_is_the_exact_sign_test():
    differences = torch.tensor([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)[:, None]
    assert sign_flip_p(differences).item() == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert sign_flip_p(100 * differences).item() == pytest.approx(stats.binomtest(2, 11).pvalue)


def test_flips_keep_images_together():
    """40 pairs from 5 images cannot have a p-value below 2 / 2^5."""
    values = (torch.rand(5, generator=torch.Generator().manual_seed(1)) + 1).repeat(8)[:, None]
    assert sign_flip_p(values, torch.arange(5).repeat(8)).item() == pytest.approx(2 / 32)
    assert sign_flip_p(values).item() < 0.001


def test_holm_is_its_definition():
    chances = [0.01, math.nan, 0.04, 0.03, 0.005]
    assert holm(chances) == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def noise(metrics, images, seed):
    """Two methods that differ by chance: continuous, skewed, mostly zero and 0/1 metrics, correlated within images."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(images, 1, generator=generator)
    draws = 0.5 * base + torch.randn(2, images, metrics, generator=generator)
    kinds = [draws, draws.exp(), draws.clamp(min=0.8) - 0.8, (draws > 1).float()]
    return [
        {f"{name}{kind}": kinds[kind][side, :, name] for name in range(metrics) for kind in range(4)}
        for side in range(2)
    ]


def test_noise_over_28_metrics_is_named_ahead_in_at_most_one_of_twenty_runs():
    hits = {f"{name}3": 1.0 for name in range(7)}
    found = [compare_values(*noise(7, 30, seed), hits=hits).values() for seed in range(60)]
    by_itself = np.mean([any(each.raw_sign for each in run) for run in found])
    corrected = np.mean([any(each.sign for each in run) for run in found])
    assert by_itself > 0.4  # what the correction is for
    assert corrected <= 0.1  # 60 runs; benchmarks/coverage.py has 1,000


def test_a_clear_difference_is_found_among_many_metrics():
    a, b = noise(7, 30, 0)
    a = a | {"00": b["00"] + 1 + 0.1 * a["00"]}
    found = compare_values(a, b, hits={f"{name}3": 1.0 for name in range(7)})
    assert found["00"].sign == 1 and compare_values(b, a)["00"].sign == -1
    assert found["00"].p <= found["00"].p_corrected <= 0.05


def test_equal_differences_decide_from_ten_images_on():
    for count, sign in ((9, 0), (16, 1)):
        a, b = {"gain": torch.ones(count)}, {"gain": torch.zeros(count)}
        assert compare_values(a, b)["gain"].sign == sign


def test_images_needed_find_the_difference_in_four_of_five_trials():
    differences = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    differences = (differences - differences.mean()) / differences.std() + 0.3  # mean 0.3, deviation 1
    needed = images_needed(differences)
    assert needed == math.ceil((1.959964 + 0.841621) ** 2 / 0.09)
    trials = torch.randn(needed, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.3
    found = np.mean(stats.ttest_1samp(trials.numpy(), 0).pvalue <= 0.05)
    assert 0.74 <= found <= 0.86
    assert images_needed(differences, level=0.05 / 28) > needed
    assert images_needed(differences.repeat(3), torch.arange(50).repeat(3)) == pytest.approx(needed, rel=0.05)
    assert images_needed(torch.zeros(20)) is None and images_needed(torch.ones(1)) is None


def test_no_fewer_images_are_needed_than_can_decide_anything():
    differences = 0.5 + 0.01 * torch.arange(10, dtype=torch.float64)
    for level in (0.05, 0.05 / 28, 0.05 / 400):
        needed = images_needed(differences, level=level)
        signs = torch.ones(needed, 1, dtype=torch.float64) + 0.01 * torch.arange(needed)[:, None]
        assert float(sign_flip_p(signs)) <= level + 1e-4 and 2 / 2 ** least_images(level) <= level, level
        assert needed == max(10, least_images(level)) and 2 / 2 ** (least_images(level) - 1) > level


def test_hits_before_and_after_are_compared_as_hits_of_two_methods():
    for both, won, lost, neither in ((5, 6, 0, 1), (5, 5, 0, 40), (3, 1, 9, 0), (0, 0, 0, 4)):
        after = torch.tensor([1.0] * both + [1] * won + [0] * lost + [0] * neither)
        before = torch.tensor([1.0] * both + [0] * won + [1] * lost + [0] * neither)
        expected = compare_values({"hit": after}, {"hit": before}, hits={"hit": 1})["hit"]
        found = compare_hits(both + lost, won, lost, len(after))
        assert found.sign == expected.sign and found.p == pytest.approx(expected.p)
        assert found.interval == pytest.approx(expected.interval)
    assert compare_hits(0, 0, 0, 0).sign == 0
    with pytest.raises(InputError, match="5 images changed of 4; give the number of all images"):
        compare_hits(1, 3, 2, 4)


def test_lengths_must_agree():
    with pytest.raises(InputError, match="gain.*shape"):
        compare_values({"gain": torch.ones(3)}, {"gain": torch.ones(4)})


def test_of_no_values_nothing_is_decided():
    found = compare_values(
        {"gain": torch.empty(0), "hit": torch.empty(0)},
        {"gain": torch.empty(0), "hit": torch.empty(0)},
        hits={"hit": 1},
    )
    for each in found.values():
        assert each.interval.n == 0 and each.sign == 0 and each.needed is None and each.p != each.p
