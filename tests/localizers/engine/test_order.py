import pytest
import torch

from protomask.localizers.engine.learning import learn_masks
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.engine.order import SUFFICIENT, OrderProblem, rank_share, sufficient_mask, with_values_of
from tests.support.scores import Constant, Network, Region, pairs


def test_a_place_counts_the_pixels_before_and_shares_ties():
    torch.testing.assert_close(
        rank_share(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])), torch.tensor([[[0.0, 0.625], [0.625, 0.25]]])
    )
    values = torch.randn(3, 9, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counted = torch.stack(
        [(each[None] > each.flatten()[:, None, None]).sum((1, 2)).view(9, 13) / 117 for each in values]
    )
    torch.testing.assert_close(rank_share(values), counted.double())
    assert torch.equal(rank_share(values), rank_share(values.exp()))  # the order alone


def test_each_of_equal_pixels_has_the_mean_of_their_places():
    values = torch.randint(0, 5, (3, 7, 11), generator=torch.Generator().manual_seed(0)).float()
    values[2] = 1.0
    for each, places in zip(values.flatten(1), rank_share(values).flatten(1)):
        before, equal = (each > each[:, None]).sum(1), (each == each[:, None]).sum(1)
        torch.testing.assert_close(places, (before + (equal - 1) / 2) / 77)


@pytest.mark.parametrize("size_weight", [0.0, 0.5, 5.0])
def test_as_much_is_shown_as_the_score_needs(size_weight):
    """The mean of a region of a fifth of the image is lost in proportion to what is hidden of it."""
    images = torch.ones(2, 3, 20, 20)
    order = torch.zeros(2, 20, 20)
    order[:, :8, :10] = 1
    order += 0.1 * torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0))
    found = sufficient_mask(Region(slice(0, 8), slice(0, 10)), images, torch.tensor([0, 0]), order, size_weight)
    place = rank_share(order)
    best = []
    for area in SUFFICIENT:
        kept = (1 - place / (2 * area)).clamp(min=0)[:, :8, :10].mean((1, 2))
        best.append(1 - kept + size_weight * area)
    chosen = torch.tensor(SUFFICIENT)[torch.stack(best).argmin(0)]
    assert torch.equal(rank_share(found), place)
    share = (found > 0.002).float().mean((1, 2))
    torch.testing.assert_close(share, (2 * chosen).clamp(max=1), atol=0.01, rtol=0)


def test_a_map_without_order_stays_without():
    found = sufficient_mask(
        Region(slice(0, 5), slice(0, 5)),
        torch.ones(2, 3, 10, 10),
        torch.tensor([0, 0]),
        torch.full((2, 10, 10), 0.3),
        1.0,
    )
    assert torch.equal(found, torch.zeros(2, 10, 10))


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_score_that_nothing_changes_gives_finite_maps(value):
    order = torch.rand(1, 10, 10, generator=torch.Generator().manual_seed(0))
    assert sufficient_mask(Constant(value), torch.ones(1, 3, 10, 10), torch.tensor([0]), order, 2.0).isfinite().all()


def test_batches_do_not_change_the_result():
    network = Network().eval()
    images, index = pairs(5)
    order = torch.rand(5, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = sufficient_mask(network, images, index, order, 1.0)
    torch.testing.assert_close(whole, sufficient_mask(network, images, index, order, 1.0, batch_size=2))


def test_ordering_puts_the_evidence_first():
    """Out of a rough mask that is wrong about it."""
    rough = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(0))
    rough[:, :6, :6] = 0.3
    region = Region(slice(0, 6), slice(0, 6))
    problem = OrderProblem(region, rough, sizes=(8, 24), steps=20, areas=(0.06, 0.12), softness=0.05, background="zero")
    images = torch.ones(1, 3, 24, 24)
    order = learn_masks(region, images, torch.tensor([0]), problem, steps=20, optimiser=Adam(0.1)).result
    assert rank_share(order)[0, :6, :6].mean() < 0.1 < rank_share(rough)[0, :6, :6].mean()


def test_ordered_pixels_take_the_values_of_a_mask():
    order = torch.tensor([[[5.0, 1.0], [3.0, 1.0]]])
    mask = torch.tensor([[[0.0, 0.0], [1.0, 0.6]]])
    found = with_values_of(order, mask)[0]
    assert found[0, 0] == 1 and found[0, 1] == found[1, 1] < 1e-3  # equal pixels share a value
    torch.testing.assert_close(found[1, 0].item(), 0.6, atol=2e-3, rtol=0)
    assert (with_values_of(torch.ones(1, 3, 3), torch.rand(1, 3, 3)) == 0).all()


def test_the_order_survives_where_the_mask_is_empty():
    torch.manual_seed(0)
    order, mask = torch.rand(1, 8, 8), torch.zeros(1, 8, 8)
    mask[0, :2] = 1.0
    found = with_values_of(order, mask)
    inside = order >= order.flatten().sort(descending=True).values[15]
    assert (found[inside] > 0.99).all() and (found[~inside] < 2e-3).all()
    assert torch.equal(found[~inside].argsort(), order[~inside].argsort())


def test_contrast_is_a_power_of_the_values():
    order, mask = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]]), torch.tensor([[[1.0, 0.5, 0.2, 0.0]]])
    found = with_values_of(order, mask, 2.0)
    torch.testing.assert_close(found[0, 0], torch.tensor([1.0, 0.25, 0.04, 0.0]), atol=2e-3, rtol=0)
