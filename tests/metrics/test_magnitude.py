"""Magnitude-aligned scoring against the authors' steps, one after the other in numpy."""

import numpy as np
import torch

from protomask.metrics import deletion, insertion, mas_deletion, mas_insertion


def plain(response, saliency, steps, inserting):
    order = np.argsort(-saliency.reshape(-1), kind="stable")
    parts = np.array_split(order, steps)
    density = [0.0 if inserting else 1.0]
    for part in parts:
        share = saliency.reshape(-1)[part].sum() / saliency.sum()
        density.append(density[-1] + (share if inserting else -share))
    low, high = (response[0], response[-1]) if inserting else (response[-1], response[0])
    extreme, normalised = (0.0 if inserting else 1.0), []
    for value in response:
        value = min(max((value - low) / (high - low), 0.0), 1.0)
        extreme = max(extreme, value) if inserting else min(extreme, value)
        normalised.append(extreme)
    normalised, density = np.array(normalised), np.array(density)
    penalty = np.abs(density - normalised)
    corrected = np.clip(normalised - penalty if inserting else normalised + penalty, 0, 1)
    corrected = (corrected - corrected.min()) / (corrected.max() - corrected.min())
    return (corrected.sum() - corrected[0] / 2 - corrected[-1] / 2) / (len(corrected) - 1)


def test_agreement_with_the_authors_steps():
    generator = torch.Generator().manual_seed(0)
    images, saliency = torch.rand(4, 3, 8, 14, generator=generator), torch.rand(4, 8, 14, generator=generator) ** 3
    weights = torch.randn(8, 14, generator=generator) + 1

    def score(images, index):
        return (images * weights).mean((1, 2, 3)).sigmoid()

    index = torch.zeros(4, dtype=torch.long)
    for curve, measure, inserting in ((insertion, mas_insertion, True), (deletion, mas_deletion, False)):
        scores = curve(score, images, index, saliency).scores
        found = measure(scores, saliency)
        expected = [plain(s.numpy(), m.double().numpy(), 28, inserting) for s, m in zip(scores, saliency)]
        torch.testing.assert_close(found, torch.tensor(expected).float(), atol=1e-5, rtol=0)


def test_values_that_follow_the_score_are_ahead_of_their_order_alone():
    """Insertion and deletion see no difference between a map and its third power; these do."""
    saliency = torch.linspace(0, 1, 112).view(1, 8, 14)
    steps = torch.arange(29) / 28
    scores = (1 - (1 - steps) ** 2)[None]  # what a map in proportion to a linear score inserts
    assert mas_insertion(scores, saliency) > mas_insertion(scores, saliency**8) + 0.02
    assert mas_deletion(1 - scores, saliency) < mas_deletion(1 - scores, saliency**8) - 0.02
    assert mas_insertion(scores * 0 + 1, saliency).isnan().all()
    assert mas_insertion(scores, saliency * 0).isnan().all()
