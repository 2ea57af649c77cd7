"""Bootstrap intervals: known cases, pairing, images with several values, undefined values."""

import numpy as np
import pytest
import torch
from scipy import stats

from protomask.errors import InputError
from protomask.statistics import (
    Interval,
    bootstrap_band,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_means,
    share_interval,
)


def test_equal_values_say_nothing_of_their_spread():
    found = bootstrap_mean(torch.full((30,), 0.25))
    assert found.mean == 0.25 and found.n == 30 and np.isnan(found.low) and not found.excludes_zero


def test_interval_is_the_slow_studentised_bootstrap():
    """Against a plain loop over resamples of the same draws."""
    values = torch.rand(12, generator=torch.Generator().manual_seed(2), dtype=torch.float64) ** 3
    found = bootstrap_mean(values, resamples=2000, seed=7)
    generator, ratios = torch.Generator().manual_seed(7), []
    for row in torch.randint(12, (2000, 12), generator=generator):
        drawn = values[row].numpy()
        ratios.append((drawn.mean() - values.mean().item()) / (drawn.std() * (12 / 11) ** 0.5 / 12**0.5))
    ratios.sort()
    error, tail = values.std().item() / 12**0.5, int(0.025 * 12 / 27 * 2000)
    assert found.low == pytest.approx(values.mean().item() - ratios[1999 - tail] * error)
    assert found.high == pytest.approx(values.mean().item() - ratios[tail] * error)


def test_many_normal_values_have_the_t_interval():
    values = torch.randn(400, generator=torch.Generator().manual_seed(3))
    found, half = bootstrap_mean(values), stats.t.ppf(0.976, 399) * values.std().item() / 20
    assert found.low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean().item() + half, abs=0.1 * half)


def test_ten_copies_of_an_image_are_one_image():
    values = torch.randn(20, generator=torch.Generator().manual_seed(4))
    alone, copied = bootstrap_mean(values), bootstrap_mean(values.repeat(10), torch.arange(20).repeat(10))
    assert copied[:3] == pytest.approx(alone[:3]) and (copied.n, copied.units) == (200, 20)
    assert bootstrap_mean(values.repeat(10)).high - alone.mean < (alone.high - alone.mean) / 2


def test_images_with_several_pairs_are_covered_as_often_as_it_says():
    """100 pairs of 39 images, almost equal within an image: the audit found 62 % by resampling pairs."""
    generator = torch.Generator().manual_seed(0)
    home = torch.randint(39, (100,), generator=generator)
    samples = torch.randn(39, 300, generator=generator)[home] + 0.3 * torch.randn(100, 300, generator=generator)
    by_image, by_pair = (bootstrap_means(samples, groups, resamples=1000) for groups in (home, None))
    assert np.mean([found.low <= 0 <= found.high for found in by_image]) >= 0.93
    assert np.mean([found.low <= 0 <= found.high for found in by_pair]) <= 0.85


def test_pairing_finds_a_small_difference_under_a_large_spread():
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(50, generator=generator) * 10
    a, b = base + 0.5 + 0.1 * torch.randn(50, generator=generator), base
    found = bootstrap_difference(a, b)
    assert found.excludes_zero and found.mean == pytest.approx(0.5, abs=0.05)
    assert bootstrap_difference(b, a)[:3] == pytest.approx((-found.mean, -found.high, -found.low), abs=1e-3)
    assert not bootstrap_mean(base).excludes_zero


def test_undefined_values_leave_both_sides_of_a_pair():
    nan = torch.nan
    found = bootstrap_difference(torch.tensor([1.0, nan, 3.0, 9.0]), torch.tensor([0.0, 5.0, 2.0, nan]))
    assert found.mean == 1 and found.n == 2


@pytest.mark.parametrize("values", [[2.0], [], [0.0] * 9 + [1.0] + [2.0] * 0 + [0.0] * 8, list(range(9))])
def test_too_little_has_no_interval(values):
    found = bootstrap_mean(torch.tensor([*values, torch.nan]))
    assert found.n == len(values) and np.isnan(found.low) and np.isnan(found.high) and not found.excludes_zero


def test_seed_decides_and_columns_equal_loop():
    columns = torch.rand(30, 4, generator=torch.Generator().manual_seed(5))
    columns[3, 1] = columns[7, 1] = torch.nan
    found = bootstrap_means(columns, seed=4)
    for column, interval in enumerate(found):
        assert interval == pytest.approx(bootstrap_mean(columns[:, column], seed=4))
    assert found[1].n == 28
    assert bootstrap_mean(columns[:, 0], seed=4) != bootstrap_mean(columns[:, 0], seed=5)


def test_band_resamples_images():
    curves = torch.rand(25, 6, generator=torch.Generator().manual_seed(6))
    curves[2, 3] = torch.nan  # the whole curve is left out
    mean, low, high = bootstrap_band(curves)
    kept = torch.cat([curves[:2], curves[3:]]).double()
    half = 1.96 * kept.std(0, correction=0) / 24**0.5
    torch.testing.assert_close(low, kept.mean(0) - half, atol=0.02, rtol=0)
    torch.testing.assert_close(high, kept.mean(0) + half, atol=0.02, rtol=0)
    again = bootstrap_band(kept.repeat(5, 1), torch.arange(24).repeat(5))
    torch.testing.assert_close(again, bootstrap_band(kept))


@pytest.mark.parametrize("images", [2, 9])
def test_few_images_have_no_band_as_they_have_no_interval(images):
    curves = torch.rand(3 * images, 6, generator=torch.Generator().manual_seed(6))
    mean, low, high = bootstrap_band(curves, torch.arange(images).repeat(3))
    assert torch.allclose(mean, curves.double().mean(0)) and low.isnan().all() and high.isnan().all()
    assert not bootstrap_band(torch.rand(10, 6))[1].isnan().any()


def test_of_no_values_everything_is_undefined():
    none = torch.empty(0)
    for found in (bootstrap_mean(none), bootstrap_difference(none, none), share_interval(none)):
        assert (found.n, found.units) == (0, 0) and all(np.isnan(each) for each in found[:3])
    assert bootstrap_means(torch.empty(5, 0)) == [] and len(bootstrap_means(torch.empty(0, 2))) == 2


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="shape"):
        bootstrap_difference(torch.zeros(2), torch.zeros(3))
    with pytest.raises(InputError, match="confidence"):
        bootstrap_mean(torch.zeros(3), confidence=1)
    with pytest.raises(InputError, match="groups"):
        bootstrap_mean(torch.zeros(3), torch.zeros(2))


def test_intervals_are_cut_to_what_can_be():
    nan = float("nan")
    assert Interval(0.5, -0.2, 1.3, 12).within(0, 1)[:3] == (0.5, 0, 1)
    assert Interval(1.0000001, 0.9, 1.3, 12).within(0, 1).high == 1.0000001  # rounding: the mean stays inside
    assert Interval(0.5, 0.2, 1.3, 12).within(-np.inf, np.inf) == Interval(0.5, 0.2, 1.3, 12)
    for empty in (Interval(0.5, nan, nan, 3), Interval(nan, nan, nan, 0)):
        assert np.isnan(empty.within(0, 1)[1:3]).all()
