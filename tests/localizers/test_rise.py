import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import RISE
from protomask.localizers.base import min_max
from tests.support.scores import Constant, Linear, Network, Region, pairs


def test_it_is_the_mean_score_given_that_a_pixel_shows():
    network, (images, index) = Network().eval(), pairs(2, 20, 27)
    rise = RISE(masks=40, cells=4, seed=3, batch_size=7)
    masks = torch.cat(list(rise._masks(images)))
    assert masks.shape == (40, 20, 27) and masks.amin() >= 0 and masks.amax() <= 1
    expected = []
    with torch.no_grad():
        for image, number in zip(images, index):
            total = sum(float(network.score((image * mask)[None], number[None])) * mask.double() for mask in masks)
            expected.append(total / masks.double().sum(0))
    torch.testing.assert_close(rise(network, images, index), min_max(torch.stack(expected)), atol=1e-4, rtol=0)


def test_masks_show_the_share_asked_for_and_depend_on_the_seed_alone():
    masks = torch.cat(list(RISE(masks=3000, show=0.3)._masks(torch.zeros(1, 3, 28, 28))))
    # A pixel of bilinear masks has a variance below p (1 - p) = .21: the standard error of its mean is below .0084.
    assert (masks.mean(0) - 0.3).abs().max() < 0.045
    again = torch.cat(list(RISE(masks=3000, show=0.3, batch_size=999)._masks(torch.zeros(1, 3, 28, 28))))
    assert torch.equal(masks, again)
    other = torch.cat(list(RISE(masks=3000, show=0.3, seed=1)._masks(torch.zeros(1, 3, 28, 28))))
    assert not torch.equal(masks, other)


@pytest.mark.parametrize("offset", [0.0, -50.0])
def test_the_map_lies_on_the_evidence_also_for_scores_far_from_zero(offset):
    weights = torch.zeros(1, 3, 28, 36)
    weights[:, :, 16:28, 0:12] = 1 / 432
    found = RISE(masks=1000)(Linear(weights, offset), torch.ones(1, 3, 28, 36), torch.tensor([0]))[0]
    inside = torch.zeros(28, 36, dtype=torch.bool)
    inside[16:28, 0:12] = True
    assert inside.flatten()[found.argmax()]
    assert found[18:26, 2:10].mean() > 0.8 and found[:10, 18:].mean() < 0.3


def test_a_batch_gives_what_a_loop_gives_and_the_model_is_left_as_it_was():
    network, (images, index) = Network().train(), pairs(3, 21, 26)
    before = torch.random.get_rng_state()
    rise = RISE(masks=30, batch_size=8)
    with torch.inference_mode():
        whole = rise(network, images, index)
    single = torch.cat(
        [
            RISE(masks=30, batch_size=11)(network, images[place : place + 1], index[place : place + 1])
            for place in range(3)
        ]
    )
    torch.testing.assert_close(whole, single, atol=1e-4, rtol=0)
    assert torch.equal(torch.random.get_rng_state(), before) and network.training and network.body[1].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())

    def fail(*_):
        raise ZeroDivisionError

    handle = network.body.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        rise(network, images, index)
    handle.remove()
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())


def test_memory_is_bounded_by_the_batch_size():
    largest = []

    class Watching(Region):
        def score(self, images, index):
            largest.append(len(images))
            return super().score(images, index)

    RISE(masks=50, batch_size=8)(Watching(slice(0, 4), slice(0, 4)), torch.ones(3, 3, 16, 16), torch.arange(3))
    assert max(largest) == 8 and sum(largest) == 150


def test_degenerate_cases():
    for value in (0.0, -3.0):
        assert RISE(masks=20)(Constant(value), torch.ones(1, 3, 17, 23), torch.tensor([0])).abs().max() == 0
    # A single mask leaves pixels that it never shows: they are no more salient than the least.
    found = RISE(masks=1, show=0.2)(Region(slice(0, 9), slice(0, 9)), torch.ones(1, 3, 24, 24), torch.tensor([0]))
    assert found.isfinite().all()
    with pytest.raises(InputError, match="RISE: masks is 0"):
        RISE(masks=0)
    with pytest.raises(InputError, match="probability between"):
        RISE(show=1.0)
    with pytest.raises(InputError, match="no images"):
        RISE()(Constant(1.0), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long))
