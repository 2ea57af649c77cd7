"""Bootstrap intervals: known cases, coverage, pairing, undefined values."""

import numpy as np
import pytest
import torch

from protomask.errors import InputError
from protomask.metrics.statistics import bootstrap_band, bootstrap_difference, bootstrap_mean, bootstrap_means


def test_a_constant_has_no_spread():
    assert bootstrap_mean(torch.full((30,), 0.25)) == pytest.approx((0.25, 0.25, 0.25, 30))


def test_interval_of_a_share_is_that_of_the_binomial_distribution():
    """A resample of 20 hits and 20 misses counts Binomial(40, 1/2) hits: its 2.5 and 97.5 percentiles are 14 and 26."""
    values = torch.cat([torch.ones(20), torch.zeros(20)])
    found = bootstrap_mean(values)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 14 / 40, 26 / 40))


def test_interval_covers_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(40, 400, generator=generator) + 1
    covered = np.mean([found.low <= 1 <= found.high for found in bootstrap_means(samples, resamples=1000)])
    assert 0.90 <= covered <= 0.98


def test_the_normal_interval_is_met():
    values = torch.randn(500, generator=torch.Generator().manual_seed(3))
    half = 1.96 * values.std(correction=0).item() / 500**0.5
    found = bootstrap_mean(values)
    assert found.low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean().item() + half, abs=0.1 * half)


def test_pairing_finds_a_small_difference_under_a_large_spread():
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(50, generator=generator) * 10
    a, b = base + 0.5 + 0.1 * torch.randn(50, generator=generator), base
    found = bootstrap_difference(a, b)
    assert found.excludes_zero and found.mean == pytest.approx(0.5, abs=0.05)
    assert bootstrap_difference(b, a)[:3] == pytest.approx((-found.mean, -found.high, -found.low))
    assert not bootstrap_mean(base).excludes_zero


def test_undefined_values_leave_both_sides_of_a_pair():
    nan = torch.nan
    found = bootstrap_difference(torch.tensor([1.0, nan, 3.0, 9.0]), torch.tensor([0.0, 5.0, 2.0, nan]))
    assert found == pytest.approx((1, 1, 1, 2))


def test_too_few_values_have_no_interval():
    one = bootstrap_mean(torch.tensor([2.0, torch.nan]))
    assert one.mean == 2 and np.isnan(one.low) and np.isnan(one.high) and one.n == 1
    none = bootstrap_mean(torch.tensor([torch.nan]))
    assert np.isnan(none.mean) and none.n == 0
    assert not one.excludes_zero and not none.excludes_zero


def test_seed_decides_and_columns_equal_loop():
    columns = torch.rand(30, 4, generator=torch.Generator().manual_seed(5))
    columns[3, 1] = columns[7, 1] = torch.nan
    found = bootstrap_means(columns, seed=4)
    for column, interval in enumerate(found):
        assert interval == pytest.approx(bootstrap_mean(columns[:, column], seed=4))
    assert found[1].n == 28
    assert bootstrap_mean(columns[:, 0], seed=4) == bootstrap_mean(columns[:, 0], seed=4)
    assert bootstrap_mean(columns[:, 0], seed=4) != bootstrap_mean(columns[:, 0], seed=5)


def test_band_is_the_interval_of_every_point():
    curves = torch.rand(25, 6, generator=torch.Generator().manual_seed(6))
    curves[2, 3] = torch.nan  # the whole curve is left out
    mean, low, high = bootstrap_band(curves)
    one = bootstrap_mean(torch.cat([curves[:2, 4], curves[3:, 4]]))
    assert (mean[4].item(), low[4].item(), high[4].item()) == pytest.approx(one[:3])


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="shape"):
        bootstrap_difference(torch.zeros(2), torch.zeros(3))
    with pytest.raises(InputError, match="confidence"):
        bootstrap_mean(torch.zeros(3), confidence=1)
