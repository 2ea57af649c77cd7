import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import HDM
from tests.localizers.toys import Both, Constant, Linear, Network, Region, pairs

QUICK = HDM(benchmark_sizes=(4, 8), auxiliary_sizes=(12,), modules=2, benchmark_steps=24, auxiliary_steps=6, fusion_steps=3, rate=0.15,
            settle=0.5)


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
    assert saliency[0, :, :8].mean() > saliency[0, :, 10:14].mean() and saliency[0, :, 16:].mean() > saliency[0, :, 10:14].mean()


def test_the_cascade_ends_where_nothing_is_left():
    calls = []

    class Watched(Region):
        def score(self, images, index):
            calls.append(1)
            return super().score(images, index)

    images, index = torch.ones(1, 3, 24, 24), torch.tensor([0])
    costs = []
    for modules in (1, 4):
        calls.clear()
        settings = HDM(benchmark_sizes=(4,), auxiliary_sizes=(8,), modules=modules, benchmark_steps=20, auxiliary_steps=5)
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
    each = torch.cat([QUICK(network, images[place:place + 1], index[place:place + 1]) for place in range(4)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)
    chunks = HDM(**{**vars(QUICK), "batch_size": 3})(network, images, index)
    torch.testing.assert_close(whole, chunks, atol=2e-3, rtol=0)


@pytest.mark.parametrize("score", [0.0, -3.0, 2.0])
def test_scores_that_do_not_depend_on_the_image_give_no_nan(score):
    saliency = QUICK(Constant(score), torch.ones(2, 3, 17, 23), torch.tensor([0, 1]))
    assert saliency.isfinite().all() and saliency.min() >= 0 and saliency.max() <= 1


def test_negative_scores_are_explained():
    weights = torch.zeros(1, 3, 24, 24)
    weights[:, :, :12, :12] = 1 / 432
    saliency = QUICK(Linear(weights, offset=-5.0), torch.ones(1, 3, 24, 24), torch.tensor([0]))
    assert saliency[0, :12, :12].mean() > 5 * saliency[0, 12:, 12:].mean()


@pytest.mark.parametrize("settings", [{"benchmark_sizes": ()}, {"auxiliary_sizes": (0,)}, {"modules": 0}, {"fusion_steps": -1},
                                      {"areas": ()}, {"size_weights": (1.0,)}, {"softness": 0.0},
                                      {"background": "grey"}, {"precision": "fp8"}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match="HDM"):
        HDM(**settings)
