"""Fidelity and the relevance ordering test on scores that can be computed by hand."""

import pytest
import torch

from protomask.metrics.prototypes import fidelity, relevance_ordering


def two_cells(images, index):
    """A similarity map of 1 x 2 cells: the mean of the left and of the right half."""
    return images.mean(1).unflatten(2, (2, -1)).mean((1, 3))[:, None]


def scene():
    images = torch.ones(1, 3, 20, 100)
    images[..., :50] = 2.0  # the left cell is the maximum: 2, the right one 1
    return images, torch.tensor([0])


def test_fidelity_reads_the_original_maximum():
    images, index = scene()
    left, right = torch.zeros(2, 1, 20, 100)
    left[0, :, :50], right[0, :, 50:] = 1, 1
    # 2 % of 2000 pixels are 40 of the 1000 in the left half: 4 % of its mean is gone; none of it where the right
    # half goes.
    found = fidelity(two_cells, images, index, left, shares=(0.01, 0.02))
    assert found.scores[0].tolist() == pytest.approx([0.98, 0.96]) and found.auc.item() == pytest.approx(0.97)
    assert fidelity(two_cells, images, index, right, shares=(0.01, 0.02)).scores[0].tolist() == [1, 1]
    # All of the left half gone: its place holds 0, though the right one holds 1.
    assert fidelity(two_cells, images, index, left, shares=(0.5,)).auc.item() == 0


def test_fidelity_takes_at_least_one_pixel_and_is_undefined_without_a_maximum():
    images, index = scene()
    first = torch.zeros(1, 20, 100)
    first[0, 3, 4] = 1  # in the left half
    assert fidelity(two_cells, images, index, first, shares=(1e-9,)).scores.item() == pytest.approx(0.999)
    assert fidelity(two_cells, -images, index, torch.rand(1, 20, 100)).auc.isnan()


def test_fidelity_batch_equals_loop():
    images, index, saliency = torch.rand(5, 3, 20, 20), torch.zeros(5, dtype=torch.long), torch.rand(5, 20, 20)
    whole = fidelity(two_cells, images, index, saliency, batch_size=7).scores
    loop = torch.cat(
        [fidelity(two_cells, images[b : b + 1], index[b : b + 1], saliency[b : b + 1]).scores for b in range(5)]
    )
    torch.testing.assert_close(whole, loop)


def test_relevance_ordering_ends_at_half_of_the_pixels():
    images, index = torch.ones(1, 3, 28, 28), torch.tensor([0])
    curve = relevance_ordering(lambda x, i: x.mean((1, 2, 3)), images, index, torch.rand(1, 28, 28))
    assert curve.scores[0].tolist() == pytest.approx([step / 28 for step in range(15)])
    assert curve.auc.item() == pytest.approx(0.25)


def test_relevance_ordering_prefers_the_evidence():
    images, index = torch.ones(1, 3, 28, 28), torch.tensor([0])
    evidence = torch.zeros(1, 28, 28)
    evidence[0, 0] = 1  # one row: one 28th of the image

    def score(x, i):
        return x[:, :, 0].mean((1, 2))

    assert relevance_ordering(score, images, index, evidence).auc.item() == pytest.approx((14 - 0.5) / 14)
    assert relevance_ordering(score, images, index, 1 - evidence).auc.item() == 0
