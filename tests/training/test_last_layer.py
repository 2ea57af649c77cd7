"""The last layer with positive evidence, against a solver of constrained problems."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional as F

from protomask.training import TrainingSet, last_layer
from protomask.training.last_layer import fit_last_layer, training_similarities
from protomask.training.stored_rows import COPIES, StoredRows
from protopnet import ProtoPNet
from tests import PASSES
from tests.support.toy import ColourImages, ToyBackbone


def make(multi_label=False):
    torch.manual_seed(1)
    data = ColourImages(per_class=10)
    net = ProtoPNet(
        ToyBackbone(),
        data.classes,
        image_size=16,
        prototypes_per_class=2,
        channels=6,
        evidence="positive",
        multi_label=multi_label,
    )
    return net, TrainingSet(data, data, data.subset([]), batch_size=10)


def test_a_fresh_layer_speaks_for_the_own_class_alone():
    net, _ = make()
    assert net.last_layer.weight.tolist() == (3.0 * net.own_class()).tolist()


def test_the_fitted_layer_is_the_constrained_minimum():
    net, setup = make()
    row = fit_last_layer(net, setup, l1=1e-4, steps=2000, passes=1)
    weight, own = net.last_layer.weight.detach(), net.own_class()
    assert weight.ge(0).all() and weight[~own].eq(0).all()
    similarities, labels = training_similarities(net, setup)
    similarities = similarities.double()

    def loss(values):
        free = torch.tensor(values, requires_grad=True)
        full = torch.zeros(3, 6, dtype=torch.float64).masked_scatter(own, free)
        value = F.cross_entropy(F.linear(similarities, full), labels)
        value.backward()
        return value.item(), free.grad.numpy()

    best = minimize(loss, np.ones(6), jac=True, bounds=[(0, 60)] * 6).fun
    assert row["loss"] == pytest.approx(best, abs=1e-5) and best < row["loss_before"] - 0.01


@pytest.mark.parametrize(("images", "expected"), [(27, 20), (100, 20), (150, 14), (5000, 1)])
def test_every_image_is_seen_until_there_are_enough_similarities(monkeypatch, images, expected):
    asked = []
    monkeypatch.setattr(last_layer, "PASSES", PASSES)
    monkeypatch.setattr(
        last_layer, "training_similarities", lambda *given: asked.append(given[2]) or (torch.ones(4, 6), torch.ones(4))
    )
    monkeypatch.setattr(last_layer, "fit_rows", lambda *given, **more: {})
    fit_last_layer(make()[0], SimpleNamespace(train=range(images), memory=2048.0), l1=1e-4)
    assert asked == [expected] and PASSES == 20


def test_findings_keep_their_bias():
    net, setup = make(multi_label=True)
    labels = F.one_hot(setup.train.labels).float()
    setup.train.labels = labels
    before = net.last_layer.bias.detach().clone()
    fit_last_layer(net, setup, l1=1e-4, passes=1)
    assert net.last_layer.weight.ge(0).all() and net.last_layer.weight[~net.own_class()].eq(0).all()
    assert not torch.equal(before, net.last_layer.bias)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("evidence", ["positive", "signed"])
def test_similarities_that_do_not_fit_are_read_in_chunks_and_give_the_same_weights(evidence, multi_label, monkeypatch):
    fitted = []
    read = []
    chunks = StoredRows.chunks
    monkeypatch.setattr(StoredRows, "chunks", lambda self: read.append(self.rows) or chunks(self))
    for memory in (2048.0, 30 * 6 * 4 * COPIES / 2**20 / 4):
        net, setup = make(multi_label)
        if evidence == "signed":
            net.evidence = "signed"
            net.reset_last_layer()
        if multi_label:
            setup.train.labels = F.one_hot(setup.train.labels).float()
        row = fit_last_layer(net, setup, l1=1e-3, passes=2, memory=memory)
        fitted.append((net.last_layer.weight.detach(), net.last_layer.bias, row["loss"]))
    torch.testing.assert_close(fitted[0], fitted[1], atol=1e-4, rtol=0)
    assert len(read) == 300 and set(read) == {7}  # 60 rows in nine chunks, in every step


def test_rows_come_back_in_order_and_in_bounds():
    with StoredRows(3, 2 * 3 * 4 * COPIES / 2**20) as stored:
        rows = torch.arange(15.0).view(5, 3)
        stored.append(rows[:3])
        stored.append(rows[3:])
        found = [(part, chunk.clone()) for part, chunk in stored.chunks()]
    assert [part for part, _ in found] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert torch.equal(torch.cat([chunk for _, chunk in found]), rows)
