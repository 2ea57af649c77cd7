"""Whose networks are at rest while a score is asked: all that the score asks, however it is written, and no others."""

import functools
import time
from types import MethodType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import softmax

import protomask
from protomask import metrics
from protomask.metrics.scoring import at_rest

IMAGES, INDEX, MAPS = torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), torch.rand(2, 8, 8)

net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 3))
model = nn.BatchNorm2d(3)
"""another network, called what others call an attribute"""
many = [[list(range(1000)) for _ in range(100)] for _ in range(20)]
held = SimpleNamespace(model=net)
networks = {"one": net}
ensemble = [("net", net)]
folds = {"0": {"nets": [net]}}
alone = protomask.Classifier(net, "probability").score


def scores(images, index):
    return softmax(net(images), 1).gather(1, index[:, None])[:, 0]


def with_default(images, index, network=net):
    return network(images)[:, 0]


def unused(images, index):
    return model(images)[:, 0]


class Asks:
    """Asks what it holds."""

    def __init__(self, model):
        self.model = model

    def __call__(self, images, index):
        return self.model(images)[:, 0]


class AsksGlobal:
    """Holds nothing."""

    def __call__(self, images, index):
        return scores(images, index)

    def score(self, images, index):
        return self(images, index)


class AsksList:
    def __init__(self):
        self.nets = [[net]]

    def score(self, images, index):
        return self.nets[0][0](images)[:, 0]


listed = AsksList()


def nested(images, index):
    def inner():
        return net(images)[:, 0]

    return inner()


def decorated(function):
    cached = functools.lru_cache(function)
    return lambda images, index: cached(images, index)


def holding(inner):
    return lambda images, index: inner(images, index)


ASKING = {
    "function": scores,
    "lambda": lambda images, index: scores(images, index),
    "comprehension": lambda images, index: torch.cat([net(each[None])[:, 0] for each in images]),
    "nested": nested,
    "default": with_default,
    "no_grad": torch.no_grad()(scores),
    "wrapped": decorated(scores),
    "partial": functools.partial(scores),
    "partial of a partial": functools.partial(functools.partial(with_default), network=net),
    "object": Asks(net),
    "object of an object": holding(Asks(protomask.Classifier(net, "logit").score).model),
    "object of a function": holding(Asks(lambda images: scores(images, INDEX[:1].expand(len(images)))[:, None])),
    "object that asks a global": AsksGlobal(),
    "object of an object that asks a global": holding(holding(AsksGlobal())),
    "method that asks a global": AsksGlobal().score,
    "method": MethodType(lambda self, images, index: self(images)[:, 0], net),
    "closure": holding(holding(Asks(net))),
    "attribute": lambda images, index: held.model(images)[:, 0],
    "value": lambda images, index: networks["one"](images)[:, 0],
    "pairs": lambda images, index: sum(each(images) for _, each in ensemble)[:, 0],
    "dictionaries": lambda images, index: folds["0"]["nets"][0](images)[:, 0],
    "object with a list": lambda images, index: listed.score(images, index),
    "bound": lambda images, index: alone(images, index),
}


@pytest.mark.parametrize("name", ASKING)
def test_however_a_score_is_written_its_network_is_at_rest_and_no_other(name):
    modes, steps = [], int(net[0].num_batches_tracked)
    with net.register_forward_pre_hook(lambda *_: modes.append((net.training, net[0].training, model.training))):
        metrics.insertion(ASKING[name], IMAGES, INDEX, MAPS)
    assert set(modes) == {(False, False, True)}
    assert net.training and net[0].training and int(net[0].num_batches_tracked) == steps
    with at_rest(ASKING[name], differentiated=True):
        assert not any(each.requires_grad for each in net.parameters()) and model.weight.requires_grad
    assert all(each.requires_grad for each in net.parameters())


def test_what_is_read_is_not_searched_or_asked_for_attributes():
    class Lazy:
        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    lazy = Lazy()

    def score(images, index):
        return scores(images, index) + 0 * (lazy is many)

    begun = time.perf_counter()
    with at_rest(score):
        assert not net.training
    assert time.perf_counter() - begun < 0.5  # seconds, where all the lists are searched
    assert net.training


def test_functions_that_call_each_other_are_looked_at_once():
    def one(images, index):
        return other(images, index) if index is None else net(images)[:, 0]

    def other(images, index):
        return one(images, index)

    with at_rest(other):
        assert not net.training
    assert net.training
