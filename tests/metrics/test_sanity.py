"""Parameter randomisation on small networks."""

import numpy as np
import pytest
import torch
from torch import nn

from protomask.errors import InputError
from protomask.metrics.sanity import map_correlation, randomise_parameters


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_every_parameter_keeps_its_values_in_another_order():
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    other = randomise_parameters(model, seed=3)
    for kept, now, shuffled in zip(before, model.parameters(), other.parameters()):
        assert kept.equal(now)
        assert shuffled.flatten().sort().values.equal(kept.flatten().sort().values)
    assert not other[0].weight.equal(model[0].weight)
    same, another = (randomise_parameters(model, seed=seed)[0].weight for seed in (3, 4))
    assert same.equal(other[0].weight) and not another.equal(other[0].weight)


def test_the_cascade_begins_at_the_output():
    model = network()
    third = randomise_parameters(model, share=1 / 3)  # 2 of 6 tensors: bias and weight of the last layer
    assert not third[3].weight.equal(model[3].weight) and third[0].weight.equal(model[0].weight)
    assert all(a.equal(b) for a, b in zip(randomise_parameters(model, share=0).parameters(), model.parameters()))


def test_mistakes_are_named():
    with pytest.raises(InputError, match="share=1.5"):
        randomise_parameters(network(), share=1.5)
    with pytest.raises(InputError, match="str"):
        randomise_parameters("no network")


def test_correlation_agrees_with_scipy_on_ties():
    stats = pytest.importorskip("scipy.stats")
    a, b = torch.randint(0, 4, (5, 6, 7)).float(), torch.randint(0, 4, (5, 6, 7)).float()
    expected = [stats.spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a.numpy(), b.numpy())]
    assert map_correlation(a, b).tolist() == pytest.approx(expected, abs=1e-6)


def test_constant_maps():
    flat, other = torch.full((1, 4, 4), 0.3), torch.rand(1, 4, 4)
    assert map_correlation(flat, torch.zeros(1, 4, 4)).item() == 1
    assert map_correlation(flat, other).item() == 0 == map_correlation(other, flat).item()
    assert np.isclose(map_correlation(other, other.square()).item(), 1)  # ranks alone count
