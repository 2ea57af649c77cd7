"""Part agreement on cases worked out by hand."""

import numpy as np
import pytest
import torch

from protomask.metrics.causal import (
    causal_insertion,
    causal_overlap,
    part_importance,
    part_mass,
    rank_correlation,
    top_part_hit,
)

ALL3 = torch.ones(1, 3, dtype=torch.bool)


def correlation(importance, mass, visible=None):
    importance, mass = torch.tensor([importance]), torch.tensor([mass])
    visible = torch.ones_like(importance, dtype=torch.bool) if visible is None else torch.tensor([visible])
    return rank_correlation(importance, mass, visible).item()


def hit(importance, mass, visible=None):
    importance, mass = torch.tensor([importance]), torch.tensor([mass])
    visible = torch.ones_like(importance, dtype=torch.bool) if visible is None else torch.tensor([visible])
    return top_part_hit(importance, mass, visible).item()


def test_importance_is_the_fall_of_the_score():
    def score(images, index):
        return images.sum((1, 2, 3)) * (index + 1)

    images = torch.ones(2, 3, 2, 2)
    index = torch.tensor([0, 1])
    without = torch.ones(2, 3, 3, 2, 2)
    without[0, 0, :, 0, 0] = 0  # the first part costs 3 of 12
    without[1, 2] = 2  # the score rises without the third
    visible = torch.tensor([[True, True, False], [False, True, True]])
    without[~visible] = torch.nan  # never looked at
    for size in (1, 16):
        importance = part_importance(score, score(images, index), without, index, visible, batch_size=size)
        assert importance[visible].tolist() == pytest.approx([3, 0, 0, -24], abs=1e-4)
        assert importance[~visible].isnan().all()


def test_importances_below_the_resolution_are_none():
    without = torch.tensor([1 - 2e-5, 1 + 3e-5, 0.75]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 1)

    def score(images, index):
        return images.mean((1, 2, 3))

    index, whole = torch.zeros(1, dtype=torch.long), torch.ones(1)
    assert part_importance(score, whole, without, index, ALL3)[0].tolist() == pytest.approx([0, 0, 0.25])
    assert part_importance(score, whole, without, index, ALL3, resolution=0)[0, 0].item() > 1e-5


def test_mass_is_summed_over_each_part():
    saliency = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    parts = torch.tensor([[[[1, 1], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]]]).bool()
    assert part_mass(saliency, parts).tolist() == [[3, 4, 0]]


def test_rank_correlation_by_hand():
    assert correlation([0.1, 0.2, 0.3], [1.0, 5.0, 9.0]) == pytest.approx(1)
    assert correlation([0.1, 0.2, 0.3], [9.0, 5.0, 1.0]) == pytest.approx(-1)
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6
    assert correlation([0.1, 0.2, 0.3, 0.4], [2.0, 1.0, 4.0, 3.0]) == pytest.approx(0.6)
    # ties: ranks 1.5 1.5 3 against 1 2 3: cov 1.5, variances 1.5 and 2
    assert correlation([0.0, 0.0, 1.0], [1.0, 2.0, 3.0]) == pytest.approx(1.5 / np.sqrt(3))


def test_rank_correlation_agrees_with_scipy_on_ties():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    for _ in range(20):
        x, y = generator.integers(0, 4, 7), generator.integers(0, 4, 7)
        expected = stats.spearmanr(x, y).statistic
        assert correlation(x.astype(float).tolist(), y.astype(float).tolist()) == pytest.approx(expected)


def test_hidden_parts_do_not_count():
    assert correlation([0.1, np.nan, 0.3], [1.0, 99.0, 2.0], [True, False, True]) == pytest.approx(1)
    assert hit([0.1, np.nan, 0.3], [1.0, 99.0, 2.0], [True, False, True]) == 1


def test_undefined_orders_are_nan_and_maps_without_order_fail():
    assert np.isnan(correlation([0.1, np.nan], [1.0, 0.0], [True, False]))  # one visible part
    assert np.isnan(correlation([np.nan, np.nan], [0.0, 0.0], [False, False]))
    assert np.isnan(correlation([0.2, 0.2], [1.0, 0.0]))  # equally important
    assert correlation([0.1, 0.2], [0.0, 0.0]) == 0  # a zero map
    assert np.isnan(hit([0.1, np.nan], [1.0, 0.0], [True, False]))
    assert np.isnan(hit([0.2, 0.2], [1.0, 0.0]))
    assert np.isnan(hit([-0.2, 0.0], [1.0, 0.0]))  # no removal lowers the score
    assert hit([0.1, 0.2], [0.0, 0.0]) == 0


def test_top_part():
    assert hit([0.1, 0.5, 0.2], [1.0, 3.0, 2.0]) == 1
    assert hit([0.1, 0.5, 0.2], [3.0, 1.0, 2.0]) == 0
    assert hit([0.5, 0.5, 0.2], [1.0, 3.0, 2.0]) == 1  # either of two equals is right
    assert hit([0.5, 0.1, 0.2], [3.0, 3.0, 2.0]) == 0  # two equally salient parts single out none


def test_batch_equals_loop():
    importance, mass, visible = torch.rand(6, 5), torch.rand(6, 5), torch.rand(6, 5) > 0.3
    for metric in (rank_correlation, top_part_hit):
        loop = torch.cat([metric(importance[b : b + 1], mass[b : b + 1], visible[b : b + 1]) for b in range(6)])
        torch.testing.assert_close(metric(importance, mass, visible).double(), loop.double(), equal_nan=True)


def test_the_causes_themselves_as_saliency_are_perfect():
    importance = torch.rand(10, 6) + 0.1
    visible = torch.rand(10, 6) > 0.2
    visible[:, :2] = True
    assert rank_correlation(importance, importance * 7, visible).numpy() == pytest.approx(np.ones(10))
    assert (top_part_hit(importance, importance * 7, visible) == 1).all()


def drawn_into(values):
    """A score that is the sum of what the drawn parts are worth, and how often it was asked."""
    asked = []

    def shown(b, parts):
        asked.append((b, parts))
        return sum(values[k] for k in parts)

    return shown, asked


def test_causal_insertion_by_hand():
    shown, asked = drawn_into([0.5, 0.3, 0.2])
    whole = torch.ones(2)
    mass = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    best, worst = causal_insertion(shown, mass, ALL3.expand(2, -1), whole).tolist()
    # 0, .5, .8, 1 and 0, .2, .5, 1, by the trapezoid rule
    assert best == pytest.approx((0.5 + 0.8 + 0.5) / 3) and worst == pytest.approx((0.2 + 0.5 + 0.5) / 3)
    assert (0, frozenset()) in asked and (1, frozenset({2, 1})) in asked


def test_equally_salient_parts_are_drawn_together():
    shown, _ = drawn_into([0.5, 0.3, 0.2])
    assert causal_insertion(shown, torch.zeros(1, 3), ALL3, torch.ones(1)).item() == pytest.approx(0.5 / 3)
    mass = torch.tensor([[2.0, 2.0, 1.0]])  # 0, 0, .8, 1
    assert causal_insertion(shown, mass, ALL3, torch.ones(1)).item() == pytest.approx((0.8 + 0.5) / 3)


def test_causal_insertion_without_an_order_is_undefined():
    shown, asked = drawn_into([0.5, 0.3, 0.2])
    one = torch.tensor([[False, True, False]])
    assert causal_insertion(shown, torch.ones(1, 3), one, torch.ones(1)).isnan() and not asked


def test_causal_overlap_by_hand():
    importance = torch.tensor([[0.6, 0.2, -0.3]])
    mass = torch.tensor([[3.0, 3.0, 1.0]])
    # shares of the map 0.3, 0.3, 0.1 of 10 in all; of the causes 0.75, 0.25, 0
    assert causal_overlap(importance, mass, torch.tensor([10.0]), ALL3).item() == pytest.approx(0.3 + 0.25)
    hidden = torch.tensor([[True, False, True]])
    assert causal_overlap(importance, mass, torch.tensor([10.0]), hidden).item() == pytest.approx(0.3)
    assert causal_overlap(importance, 0 * mass, torch.zeros(1), ALL3).item() == 0
    assert causal_overlap(-importance.abs(), mass, torch.tensor([10.0]), ALL3).isnan()
    causes = torch.rand(4, 3)
    assert causal_overlap(causes, 5 * causes, 5 * causes.sum(1), ALL3.expand(4, -1)).tolist() == pytest.approx([1] * 4)
