from dataclasses import replace

import pytest
import torch

from protomask.explainable import Classifier
from protomask.localizers import HDM, Cascade, Fusion, Keep, Order, Runtime
from protomask.localizers.engine.order import SUFFICIENT, rank_share
from protomask.localizers.hdm import ANOTHER_SEED
from tests.support.scores import Both, Linear, Network, Region, pairs

QUICK = HDM(
    keep=Keep(sizes=(4, 8), steps=24, rate=0.15, settle=0.5),
    order=Order(sizes=(12,), steps=6, rate=0.15),
    fusion=Fusion(steps=3, rate=0.15),
    background="zero",
)  # on images of one colour a blur hides nothing


def test_the_map_lies_on_the_evidence():
    images = torch.ones(2, 3, 24, 24)
    saliency = QUICK(Region(slice(0, 12), slice(12, 24)), images, torch.tensor([0, 1]))
    assert saliency.shape == (2, 24, 24) and saliency.dtype == torch.float32
    assert (saliency[:, :12, 12:].mean((1, 2)) > 5 * saliency[:, 12:, :12].mean((1, 2))).all()


def test_later_modules_find_what_the_first_left():
    """Either region alone gives the whole score: one module is content with less than both."""

    class Either:
        def score(self, images, index):
            left, right = images[:, :, :, :8].mean((1, 2, 3)), images[:, :, :, 16:].mean((1, 2, 3))
            return torch.logsumexp(torch.stack([8 * left, 8 * right * 0.9]), 0)

    images = torch.ones(1, 3, 24, 24)
    saliency = QUICK(Either(), images, torch.tensor([0]))
    assert (
        saliency[0, :, :8].mean() > saliency[0, :, 10:14].mean()
        and saliency[0, :, 16:].mean() > saliency[0, :, 10:14].mean()
    )


def test_the_cascade_ends_where_nothing_is_left():
    calls = []

    class Watched(Region):
        def score(self, images, index):
            calls.append(1)
            return super().score(images, index)

    images, index = torch.ones(1, 3, 24, 24), torch.tensor([0])
    costs = []
    for modules in (2, 4):
        calls.clear()
        settings = HDM(
            keep=Keep(sizes=(4,)),
            order=Order(sizes=(8,)),
            cascade=Cascade(modules=modules, rest=0.4),
            background="zero",
        )
        settings(Watched(slice(0, 6), slice(0, 6)), images, index)
        costs.append(len(calls))
    assert costs[0] == costs[1]


def test_half_of_the_evidence_is_not_enough():
    both = Both(Region(slice(0, 8), slice(0, 8)), Region(slice(16, 24), slice(16, 24)))
    saliency = QUICK(both, torch.ones(1, 3, 24, 24), torch.tensor([0]))[0]
    assert saliency[:8, :8].mean() > 3 * saliency[8:16].mean() and saliency[16:, 16:].mean() > 3 * saliency[8:16].mean()


def test_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    images, index = pairs(4)
    images = images.double()
    whole = QUICK(network, images, index)
    each = torch.cat([QUICK(network, images[place : place + 1], index[place : place + 1]) for place in range(4)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)
    chunks = replace(QUICK, runtime=Runtime(batch_size=3))(network, images, index)
    torch.testing.assert_close(whole, chunks, atol=2e-3, rtol=0)


def test_one_module_follows_its_equation():
    """Two steps of the auxiliary stage out of a benchmark of two, written out for one pair in float64."""
    network = Network().double().eval()
    images, index = pairs(1)
    images = images.double()
    settings = HDM(
        keep=Keep(sizes=(4,), steps=2, size_weights=(3.0, 3.0), settle=1.0),
        order=Order(sizes=(6,), steps=2, areas=(0.1, 0.3), softness=0.2, area_weight=1.5, damping=0.0),
        cascade=Cascade(modules=1, guide=0.5, leeway=0.3),
        background="zero",
    )
    found = settings(network, images, index)
    whole, empty = network.score(images, index).detach(), network.score(images * 0, index).detach()
    scale = torch.maximum(whole - empty, 0.01 * whole.abs())

    def up(vector):
        return torch.nn.functional.interpolate(vector, (24, 24), mode="bilinear")

    def unit(values):
        return (values - values.min()) / (values.max() - values.min())

    def adam(vectors, cost, steps):
        moments = [[0.0, 0.0] for _ in vectors]
        for step in range(1, steps + 1):
            vectors = [vector.detach().requires_grad_() for vector in vectors]
            gradients = torch.autograd.grad(cost(vectors, step - 1), vectors)
            for moment, gradient in zip(moments, gradients):
                moment[0] = 0.9 * moment[0] + 0.1 * gradient
                moment[1] = 0.999 * moment[1] + 0.001 * gradient**2
            vectors = [
                (vector - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)).clamp(0, 1)
                for vector, (mean, square) in zip(vectors, moments)
            ]
        return [vector.detach() for vector in vectors]

    def rough_cost(vectors, step):
        return ((whole - network.score(images * up(vectors[0]), index)) / scale + 3 * vectors[0].mean()).sum()

    def fine_cost(vectors, step):
        mask = up(vectors[0])
        threshold = mask.detach().flatten().sort(descending=True).values[int((0.1, 0.3)[step] * 576)]
        cut = torch.sigmoid((mask - threshold) / 0.2)
        shown, hidden = network.score(images * cut, index), network.score(images * (1 - cut), index)
        return ((whole - shown) / scale + (hidden - empty) / scale).sum()

    rough = unit(up(adam([torch.ones(1, 1, 4, 4, dtype=torch.float64)], rough_cost, 2)[0]))
    fine = up(adam([torch.nn.functional.adaptive_avg_pool2d(rough, 6)], fine_cost, 2)[0])
    place = rank_share((unit(fine) * (rough**0.5 + 0.3))[0].float()).double()
    masks = [(1 - place / (2 * area)).clamp(min=0) for area in SUFFICIENT]
    costs = [
        float((whole - network.score(images * mask, index).detach()) / scale) + 1.5 * area
        for mask, area in zip(masks, SUFFICIENT)
    ]
    best = min(range(len(costs)), key=costs.__getitem__)
    expected = unit(0.999 * masks[best] + 0.001 * (1 - place))[0]
    torch.testing.assert_close(found[0].double(), expected, atol=1e-3, rtol=0)


def test_what_is_explained_chooses_the_background_and_the_damping():
    network = Network().eval()
    images, index = pairs(1)
    for explained, background, damping in ((Classifier(network), "alternating", 1.0), (network, "zero", 0.3)):
        few = HDM(keep=Keep(steps=2), order=Order(steps=2), cascade=Cascade(modules=1))
        found = few.for_model(explained)
        assert found.background == background and found.order.damping == damping and found.order.steps == 2
        assert found.for_model(explained) == found
        assert torch.equal(few(explained, images, index), found(explained, images, index))


def test_negative_scores_are_explained():
    weights = torch.zeros(1, 3, 24, 24)
    weights[:, :, :12, :12] = 1 / 432
    saliency = QUICK(Linear(weights, offset=-5.0), torch.ones(1, 3, 24, 24), torch.tensor([0]))
    assert saliency[0, :12, :12].mean() > 5 * saliency[0, 12:, 12:].mean()


def test_a_benchmark_is_the_mean_of_masks_of_other_views():
    network, (images, index) = Classifier(Network().eval()), pairs(2)
    seen = []

    class Watching(HDM):
        def _benchmark(self, stages, images, index, warn):
            seen.append(super()._benchmark(stages, images, index, warn))
            return seen[-1]

    def benchmark(seed, count):
        cascade = Cascade(modules=1, benchmarks=count)
        Watching(Keep(steps=3), Order(steps=1), cascade, runtime=Runtime(seed=seed))(network, images, index)
        return seen.pop()

    first, second, both = benchmark(5, 1), benchmark(5 + ANOTHER_SEED, 1), benchmark(5, 2)
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(both, (first + second) / 2)


class Leaves(torch.nn.Module):
    """A class of probability near 1; without the image's left part it is ``left``."""

    def __init__(self, left):
        super().__init__()
        self.left = torch.tensor(left)

    def forward(self, images):
        left = images[..., :8].mean((1, 2, 3)).clamp(0, 1)
        right = images[..., 8:].mean((1, 2, 3)).clamp(0, 1)
        # Logit of the probability: 6 with the left part, that of ``left`` with the right part alone, -6 with nothing.
        logit = -6 + torch.maximum(12 * left, (6 + self.left.logit()) * right)
        return torch.stack([logit, torch.zeros_like(logit)], 1)


@pytest.mark.parametrize("left, objects", [(0.3, 1), (0.95, 2)])
def test_what_is_left_counts_by_its_probability(left, objects):
    entered = []

    class Watching(HDM):
        def _learn_module(self, stages, images, index, warn):
            entered.append(len(images))
            mask = torch.zeros(len(images), *images.shape[-2:])
            mask[..., :8] = 1.0
            return mask

    explained, images, index = Classifier(Leaves(left)), torch.ones(1, 3, 24, 24), torch.tensor([0])
    Watching()(explained, images, index)
    assert len(entered) == objects
    entered.clear()
    # Of the logarithm's range, a probability of 0.3 is most.
    Watching(cascade=Cascade(in_probability=False))(explained, images, index)
    assert len(entered) == 2
