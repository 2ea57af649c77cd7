"""ADCC and its parts by hand."""

import numpy as np
import pytest
import torch

from protomask.metrics.harmonic import adcc, coherency, complexity


def test_complexity_is_the_mean_of_the_stretched_map():
    assert complexity(torch.tensor([[[0.0, 2.0], [4.0, 2.0]]])).item() == pytest.approx(0.5)
    assert complexity(torch.full((1, 3, 3), 0.7)).item() == 0


def test_coherency_by_hand_and_against_numpy():
    saliency = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert coherency(saliency, 5 * saliency + 2).item() == pytest.approx(1)
    assert coherency(saliency, -saliency).item() == pytest.approx(0, abs=1e-7)
    a, b = torch.rand(3, 5, 6), torch.rand(3, 5, 6)
    expected = [(np.corrcoef(x.flatten(), y.flatten())[0, 1] + 1) / 2 for x, y in zip(a.numpy(), b.numpy())]
    assert coherency(a, b).tolist() == pytest.approx(expected, abs=1e-6)


def test_constant_maps_are_incoherent():
    assert coherency(torch.ones(1, 4, 4), torch.rand(1, 4, 4)).item() == 0
    assert coherency(torch.rand(1, 4, 4), torch.zeros(1, 4, 4)).item() == 0


def test_harmonic_mean():
    drop, coherent, complex_ = (
        torch.tensor(values) for values in ([0.5, 0.2, 1.4, 0.0], [1.0, 0.8, 0.9, 0.0], [0.0, 0.4, 0.1, 0.2])
    )
    found = adcc(drop, coherent, complex_)
    assert found.tolist() == pytest.approx([3 / (1 + 1 + 2), 3 / (1 / 0.8 + 1 / 0.6 + 1 / 0.8), 0, 0])
    assert adcc(torch.tensor([torch.nan]), coherent[:1], complex_[:1]).isnan()
