"""Infidelity: against captum, and on scores whose answer is known."""

import pytest
import torch

from protomask.metrics import infidelity
from protomask.metrics.infidelity import draw_squares


def test_agreement_with_captum():
    captum = pytest.importorskip("captum.metrics")
    generator = torch.Generator().manual_seed(0)
    images, saliency = torch.rand(3, 3, 12, 16, generator=generator), torch.rand(3, 12, 16, generator=generator)
    weights = torch.randn(3, 12, 16, generator=generator)

    def score(images, index=None):
        return (images * weights).mean((1, 2, 3)).tanh()

    squares = draw_squares(12, 16, count=9)
    drawn = iter(squares)
    falls = []

    def perturb(inputs, baselines=None):
        row, column, side = next(drawn)
        hidden = torch.zeros(3, 1, 12, 16)
        hidden[:, :, row : row + side, column : column + side] = 1
        left = images * (1 - hidden)
        falls.append(score(images) - score(left))
        return hidden.expand(3, 3, 12, 16), left

    expected = captum.infidelity(
        score,
        perturb,
        images,
        saliency[:, None].expand(3, 3, 12, 16),
        n_perturb_samples=9,
        max_examples_per_batch=3,
        normalize=True,
    )
    size = torch.stack(falls[-9:]).square().mean(0)
    found = infidelity(score, images, torch.zeros(3, dtype=torch.long), saliency, squares=squares, batch_size=4)
    torch.testing.assert_close(found, expected / size, atol=1e-4, rtol=0)
    assert found.min() > 0


def test_the_terms_of_a_linear_score_predict_everything_and_a_map_elsewhere_nothing():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(16, 16, generator=torch.Generator().manual_seed(1))
    weights[8:] = 0

    def score(images, index):
        return (images * weights).sum((1, 2, 3))

    index = torch.zeros(2, dtype=torch.long)
    terms = (images * weights).sum(1)
    torch.testing.assert_close(infidelity(score, images, index, terms), torch.zeros(2), atol=1e-6, rtol=0)
    low = torch.zeros(2, 16, 16)
    low[:, 14:] = 1
    assert infidelity(score, images, index, low).min() > 0.7
    assert infidelity(lambda x, i: x.sum((1, 2, 3)) * 0, images, index, terms).isnan().all()
    torch.testing.assert_close(infidelity(score, images, index, terms * 0), torch.ones(2))
