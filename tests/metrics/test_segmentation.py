"""Overlap of thresholded maps with masks, worked out by hand."""

import pytest
import torch

from protomask.metrics.segmentation import at_best_threshold, dice, dice_curves, iou, iou_curves

MAP = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
REGION = torch.tensor([[[False, False], [True, True]]])


def test_fixed_threshold_is_strict():
    assert iou(MAP, REGION).item() == 0.5  # only the 1.0 exceeds 0.5: 1 of 2
    assert iou(MAP, REGION, threshold=0.4).item() == 1
    assert iou(MAP, REGION, threshold=0.2).item() == pytest.approx(2 / 3)
    assert dice(MAP, REGION).item() == pytest.approx(2 / 3)  # 2 * 1 / (1 + 2)


def test_the_map_is_stretched_first():
    assert iou(3 + MAP / 7, REGION, threshold=0.4).item() == 1


def test_constant_maps_predict_nothing_and_empty_truths_are_undefined():
    assert iou(torch.ones(1, 2, 2), REGION).item() == 0 == dice(torch.zeros(1, 2, 2), REGION).item()
    assert iou(MAP, torch.zeros_like(REGION)).isnan() and dice_curves(MAP, torch.zeros_like(REGION)).isnan().all()


def test_curves_are_the_fixed_threshold_at_every_threshold():
    generator = torch.Generator().manual_seed(0)
    # multiples of 1/10 fall on thresholds exactly: strictness shows
    saliency = torch.randint(0, 11, (4, 6, 7), generator=generator) / 10
    region = torch.rand(4, 6, 7, generator=generator) > 0.6
    for curves, fixed in ((iou_curves, iou), (dice_curves, dice)):
        found = curves(saliency, region, thresholds=20)
        slow = torch.stack([fixed(saliency, region, threshold=step / 20) for step in range(20)], 1)
        torch.testing.assert_close(found, slow)


def test_dice_and_iou_say_the_same_twice():
    saliency, region = torch.rand(5, 9, 9), torch.rand(5, 9, 9) > 0.5
    overlap = iou(saliency, region)
    torch.testing.assert_close(dice(saliency, region), 2 * overlap / (1 + overlap))


def test_one_threshold_serves_all_images():
    curves = torch.tensor([[0.9, 0.4, 0.0], [0.1, 0.5, 0.9], [torch.nan] * 3, [0.2, 0.8, 0.0]])
    # means 0.4, 0.57, 0.3: the second, though each image alone would have chosen otherwise
    assert at_best_threshold(curves)[[0, 1, 3]].tolist() == pytest.approx([0.4, 0.5, 0.8])
    assert at_best_threshold(curves)[2].isnan()
    assert at_best_threshold(torch.full((2, 3), torch.nan)).isnan().all()
    assert at_best_threshold(torch.empty(0, 3)).shape == (0,)
