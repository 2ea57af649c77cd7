"""Pointing and energy against cases worked out by hand."""

import pytest
import torch

from protomask.metrics.localization import (
    box_regions,
    energy_pointing,
    mean_per_class,
    outside_inside_ratio,
    outside_share,
    pointing_game,
    top_share_on_object,
)


def peak(row, column, size=40):
    saliency = torch.zeros(1, size, size)
    saliency[0, row, column] = 1
    return saliency


def test_boxes_are_end_exclusive_and_united():
    region = box_regions([torch.tensor([[1, 0, 3, 2], [2, 1, 4, 3]]), torch.zeros(0, 4)], 4, 5)
    assert region[0].int().tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert not region[1].any()


def test_boxes_reach_the_pixels_whose_centre_they_hold():
    region = box_regions([torch.tensor([[0.4, -3.0, 2.6, 9.0]])], 2, 4)
    assert region[0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]


def test_pointing_accepts_less_than_the_tolerance():
    region = torch.zeros(1, 40, 40, dtype=torch.bool)
    region[0, 10, 10] = True
    assert pointing_game(peak(10, 24), region).item() == 1  # 14 px off
    assert pointing_game(peak(10, 25), region).item() == 0  # 15 px: TorchRay asks for strictly less
    assert pointing_game(peak(19, 21), region).item() == 1  # sqrt(81 + 121) = 14.2
    assert pointing_game(peak(21, 21), region).item() == 0  # sqrt(242) = 15.6


def test_pointing_without_tolerance_asks_for_the_inside():
    region = box_regions([torch.tensor([[5, 5, 10, 10]])], 40, 40)
    hits = [pointing_game(peak(*at), region, tolerance=0).item() for at in ((9, 9), (10, 9), (5, 5), (4, 5))]
    assert hits == [1, 0, 1, 0]


def test_the_first_maximum_points():
    saliency = peak(2, 3) + peak(30, 30)
    assert pointing_game(saliency, box_regions([torch.tensor([[0, 0, 5, 5]])], 40, 40), tolerance=0).item() == 1
    assert pointing_game(saliency, box_regions([torch.tensor([[25, 25, 40, 40]])], 40, 40), tolerance=0).item() == 0


def test_maps_without_a_maximum_point_nowhere():
    region = torch.ones(2, 8, 8, dtype=torch.bool)
    assert pointing_game(torch.stack([torch.zeros(8, 8), torch.ones(8, 8)]), region).tolist() == [0, 0]


def test_energy_is_the_share_inside():
    saliency = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    region = torch.tensor([[[True, False], [False, True]]])
    assert energy_pointing(saliency, region).item() == pytest.approx(0.5)
    assert energy_pointing(torch.zeros(1, 2, 2), region).item() == 0
    assert energy_pointing(saliency, torch.ones_like(region)).item() == pytest.approx(1)


def test_without_a_truth_there_is_no_value():
    empty = torch.zeros(1, 6, 6, dtype=torch.bool)
    assert pointing_game(torch.rand(1, 6, 6), empty).isnan().all()
    assert energy_pointing(torch.rand(1, 6, 6), empty).isnan().all()


def test_batch_equals_loop():
    saliency = torch.rand(5, 30, 20)
    region = torch.rand(5, 30, 20) > 0.99
    for metric in (pointing_game, energy_pointing):
        loop = torch.cat([metric(saliency[b : b + 1], region[b : b + 1]) for b in range(5)])
        torch.testing.assert_close(metric(saliency, region), loop, equal_nan=True)


def test_truth_as_a_map_is_perfect_and_beats_noise():
    region = torch.rand(8, 16, 16) > 0.7
    assert (energy_pointing(region.float(), region) == 1).all()
    assert (pointing_game(region.float(), region, tolerance=0) == 1).all()
    assert energy_pointing(torch.rand(8, 16, 16), region).max() < 0.6


def test_mean_of_class_accuracies_weighs_classes_alike():
    hits = torch.tensor([1.0, 1.0, 1.0, 0.0, torch.nan, torch.nan])
    classes = torch.tensor([0, 0, 0, 3, 3, 5])
    assert mean_per_class(hits, classes).item() == pytest.approx(0.5)
    assert mean_per_class(hits[4:], classes[4:]).isnan()


def test_the_most_salient_tenth_by_hand():
    saliency = torch.arange(100.0).view(1, 10, 10)
    region = torch.zeros(1, 10, 10, dtype=torch.bool)
    region[0, 9, :4] = True  # 4 of the 10 most salient
    assert top_share_on_object(saliency, region).item() == pytest.approx(0.4)
    region[0, 0] = True
    assert top_share_on_object(saliency, region).item() == pytest.approx(0.4)
    assert top_share_on_object(saliency, region & False).isnan()


def test_equal_pixels_count_by_their_share_on_the_object():
    saliency = torch.zeros(1, 10, 10)
    saliency[0, 0, :4] = 1  # 4 places taken, 6 left among 96 zeros
    region = torch.zeros(1, 10, 10, dtype=torch.bool)
    region[0, 0, :2] = True
    region[0, 5:, :] = True  # 50 of the zeros
    wanted = (2 + 6 * 50 / 96) / 10
    assert top_share_on_object(saliency, region).item() == pytest.approx(wanted)
    assert top_share_on_object(torch.ones(1, 10, 10), region).item() == pytest.approx(0.52)


def test_outside_inside_ratio_by_hand():
    saliency = torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])
    region = torch.tensor([[[False, True], [False, True]]])
    assert outside_inside_ratio(saliency, region).item() == pytest.approx(0.5 / 3.5)
    assert outside_inside_ratio(saliency, region, nonzero=True).item() == pytest.approx(1 / 3.5)
    assert outside_share(saliency, region).item() == pytest.approx(0.5 / 4)
    assert outside_share(torch.ones(1, 2, 2), region).item() == 0.5


def test_maps_without_anything_inside_are_worst():
    region = torch.tensor([[[False, True], [False, True]]])
    nothing, outside = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    for saliency in (nothing, outside):
        assert outside_inside_ratio(saliency, region).isinf() and outside_share(saliency, region).item() == 1
    for whole in (torch.zeros_like(region), torch.ones_like(region)):
        assert outside_share(outside, whole).isnan()
