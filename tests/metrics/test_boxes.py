"""MaxBoxAccV2 against a slow version that thresholds and labels, and by hand.

Development compared :func:`box_iou_curves` with OpenCV's own contours on 12 maps: equal at all thresholds.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from protomask.metrics.boxes import box_iou_curves, max_box_accuracy


def slow(saliency, truth):
    """As the authors: threshold, find contours (here: label regions and holes), best box."""
    image, best = (saliency.numpy() * 255).astype(np.uint8), []
    height, width = image.shape
    for step in range(1000):
        kept = image > int(step * 0.001 * int(image.max()))
        slices = [(each, 0) for each in ndimage.find_objects(ndimage.label(kept, np.ones((3, 3)))[0])]
        slices += [
            (each, 1)
            for each in ndimage.find_objects(ndimage.label(~np.pad(kept, 1))[0])
            if each[0].start > 0 or each[1].start > 0
        ]  # the outside reaches the padding
        score = 0.0
        for (rows, columns), hole in slices:
            grow, shift = hole, hole  # a hole's contour runs around it; padding moved it by one
            x0, y0 = columns.start - grow - shift, rows.start - grow - shift
            x1, y1 = min(columns.stop + grow - shift, width - 1), min(rows.stop + grow - shift, height - 1)
            for a0, b0, a1, b1 in truth.tolist():
                both = max(0, min(x1, a1) - max(x0, a0) + 1) * max(0, min(y1, b1) - max(y0, b0) + 1)
                areas = (x1 - x0 + 1) * (y1 - y0 + 1) + (a1 - a0 + 1) * (b1 - b0 + 1)
                score = max(score, both / (areas - both))
        best.append(score)
    return torch.tensor(best, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0, 1.5])
def test_agrees_with_thresholding_and_labelling(sigma):
    values = np.random.default_rng(3).random((13, 17))
    values = ndimage.gaussian_filter(values, sigma) if sigma else values
    saliency = torch.from_numpy((values - values.min()) / (values.max() - values.min())).float()
    truth = torch.tensor([[2, 3, 9, 10], [8, 1, 16, 12]])
    torch.testing.assert_close(
        box_iou_curves(saliency[None], [truth])[0].double(), slow(saliency, truth), atol=1e-6, rtol=0
    )


def test_a_square_by_hand():
    saliency = torch.zeros(1, 20, 20)
    saliency[0, 5:10, 4:12] = 1
    saliency[0, 6, 6] = 0.5
    curve = box_iou_curves(saliency, [torch.tensor([[4, 5, 12, 10]])])[0]
    assert (curve == 1).all()  # the authors' boxes end one pixel further, as truth does; a hole changes nothing
    half = box_iou_curves(saliency, [torch.tensor([[4, 5, 12, 15]])])[0]
    assert half[0].item() == pytest.approx(9 * 6 / (9 * 11))  # both ends count


def test_boxes_end_within_the_image():
    saliency = torch.zeros(1, 10, 10)
    saliency[0, 6:, 6:] = 1
    assert (box_iou_curves(saliency, [torch.tensor([[6, 6, 9, 9]])]) == 1).all()


def test_separate_spots_have_separate_boxes_until_they_join():
    saliency = torch.zeros(1, 12, 30)
    saliency[0, 4:8, :] = 0.2
    saliency[0, 4:8, 3:7] = 1
    saliency[0, 4:8, 20:24] = 0.9
    curve = box_iou_curves(saliency, [torch.tensor([[20, 4, 24, 8]])])[0]
    assert curve[500].item() == 1 and curve[950].item() == 0
    assert curve[0].item() < 0.2  # 4 * 30 pixels joined


def test_no_map_and_no_truth():
    assert (box_iou_curves(torch.zeros(1, 8, 8), [torch.tensor([[0, 0, 4, 4]])]) == 0).all()
    assert box_iou_curves(torch.rand(1, 8, 8), [torch.zeros(0, 4)]).isnan().all()


def test_accuracy_is_the_mean_over_three_ious_each_at_its_own_threshold():
    curves = torch.zeros(3, 1000)
    curves[0, 100], curves[1, 100] = 0.35, 0.4  # IoU 0.3: two of three at threshold 100
    curves[2, 700] = 0.9  # IoU 0.5 and 0.7: one of three, at threshold 700
    curves[1, 700] = 0.55
    values = max_box_accuracy(torch.cat([curves, torch.full((1, 1000), torch.nan)]))
    # 0.3: images 0, 1 (threshold 100, the first of equals); 0.5: images 1, 2; 0.7: image 2
    assert values[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3]) and values[3].isnan()


def test_batch_equals_loop():
    saliency, boxes = (
        torch.rand(3, 15, 15),
        [torch.tensor([[1, 2, 9, 9]]), torch.tensor([[3, 3, 5, 5], [0, 0, 4, 4]]), torch.zeros(0, 4)],
    )
    loop = torch.cat([box_iou_curves(saliency[b : b + 1], boxes[b : b + 1]) for b in range(3)])
    torch.testing.assert_close(box_iou_curves(saliency, boxes), loop, equal_nan=True)
