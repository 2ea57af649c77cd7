import math

import torch

from protomask.metrics import map_entropy, sparseness


def maps():
    return torch.cat([torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) ** 4, torch.zeros(1, 5, 7)])


def test_sparseness_is_half_the_mean_difference_of_pairs():
    """Gini's own definition: sum of |a - b| over all pairs / (2 N sum)."""
    found = sparseness(maps())
    for value, saliency in zip(found[:3].tolist(), maps()):
        pixels = saliency.flatten().tolist()
        expected = sum(abs(a - b) for a in pixels for b in pixels) / (2 * len(pixels) * sum(pixels))
        assert abs(value - expected) < 1e-5
    assert found[3].isnan()
    assert sparseness(torch.ones(1, 5, 7)).abs() < 1e-6


def test_entropy_term_by_term():
    found = map_entropy(maps())
    for value, saliency in zip(found[:3].tolist(), maps()):
        shares = [x / float(saliency.sum()) for x in saliency.flatten().tolist()]
        assert abs(value + sum(p * math.log(p) for p in shares if p) / math.log(35)) < 1e-5
    one = torch.zeros(1, 5, 7)
    one[0, 2, 3] = 4
    assert found[3].isnan() and map_entropy(one) == 0 and torch.isclose(map_entropy(one * 0 + 1), torch.ones(1))
