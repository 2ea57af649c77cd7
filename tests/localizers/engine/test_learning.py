"""The loop alone, with problems whose course can be written down."""

from dataclasses import dataclass

import pytest
import torch

from protomask.errors import InputError
from protomask.localizers.engine.learning import MaskState, learn_masks
from protomask.localizers.engine.optimisers import Adam, Momentum, RMSProp
from tests.support.scores import Network, Region, pairs


@dataclass(frozen=True)
class OneNumber:
    """A mask that is one number v for the whole image; the score is v times the image's mean. Loss: score^2 + v^2 /
    10."""

    start: float = 1.0

    def begin(self, pairs: MaskState) -> None:
        pairs.learned["value"] = torch.full((len(pairs), 1, 1, 1), self.start, dtype=pairs.images.dtype)

    def mask(self, pairs):
        return pairs.learned["value"].expand(-1, -1, *pairs.image_size)

    def views(self, pairs, mask):
        return (pairs.images * mask,)

    def loss(self, pairs, mask, scores):
        return scores[0] ** 2 + mask.mean((1, 2, 3)) ** 2 / 10

    def after_step(self, pairs):
        pass

    def result(self, pairs):
        return pairs.learned["value"].flatten(1)


MEAN = Region(slice(None), slice(None))


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Adam(0.05), lambda p: torch.optim.Adam(p, 0.05)),
        (Momentum(0.2, 0.8), lambda p: torch.optim.SGD(p, 0.2, momentum=0.8, dampening=0.8)),
        (RMSProp(0.02, 0.9, 0.0, start=0.0), lambda p: torch.optim.RMSprop(p, 0.02, alpha=0.9, eps=0.0)),
    ],
)
def test_a_pair_goes_the_way_of_torchs_optimiser(ours, theirs):
    images, index = pairs(3)
    images = images.double() + 1
    found = learn_masks(MEAN, images, index, OneNumber(), steps=7, optimiser=ours, batch_size=2)
    for image, result, least, steps in zip(images, *found):
        value = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimiser, losses = theirs([value]), []
        for _ in range(7):
            optimiser.zero_grad()
            loss = ((value * image.mean()) ** 2 + value**2 / 10).sum()
            loss.backward()
            losses.append(loss.item())
            optimiser.step()
        torch.testing.assert_close(result, value.detach(), rtol=1e-9, atol=0)
        assert least.item() == pytest.approx(min(losses)) and steps == 7


def test_damping_leaves_steps_as_they_are_and_what_hardly_matters_behind():
    gradient = torch.tensor([[3.0, -3.0, 1e-6, 0.0], [1e-6, 1e-6, 1e-6, 1e-6]])
    for damping, expected in (
        (0.0, [[-0.1, 0.1, -0.1, 0], [-0.1] * 4]),
        (1.0, [[-0.1 / (1 + 0.5**0.5), 0.1 / (1 + 0.5**0.5), 0, 0], [-0.05] * 4]),
    ):
        optimiser, value = Adam(0.1, epsilon=0.0 if damping else 1e-12, damping=damping), torch.zeros(2, 4)
        optimiser.step(value, gradient, optimiser.begin(value), torch.zeros(2, dtype=torch.long))
        torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_rmsprop_starts_as_tensorflows():
    value, (square,) = torch.zeros(1, 1), RMSProp().begin(torch.zeros(1, 1))
    RMSProp(0.03).step(value, torch.full((1, 1), 2.0), (square,), torch.zeros(1))
    assert value.item() == pytest.approx(-0.03 * 2 / (0.9 + 0.1 * 4) ** 0.5)


def test_pairs_that_converge_leave_early_and_make_room():
    images = torch.ones(7, 3, 8, 8) * torch.tensor([0.0, 1, 0, 1, 0, 1, 0]).view(-1, 1, 1, 1)
    sizes = []

    class Watched:
        def score(self, images, index):
            sizes.append(len(images))
            return MEAN.score(images, index)

    # With image 0 the loss is v^2 / 10: it falls slowly and counts as stale under this tolerance; with image 1 it
    # falls fast.
    found = learn_masks(
        Watched(),
        images,
        torch.zeros(7, dtype=torch.long),
        OneNumber(),
        steps=12,
        optimiser=Momentum(0.05),
        batch_size=3,
        tolerance=0.02,
        patience=3,
    )
    assert found.steps.tolist()[::2] == [4, 4, 4, 4]
    assert min(found.steps.tolist()[1::2]) > 4
    assert max(sizes) == 3
    alone = learn_masks(
        MEAN,
        images[1:2],
        torch.zeros(1, dtype=torch.long),
        OneNumber(),
        steps=12,
        optimiser=Momentum(0.05),
        tolerance=0.02,
        patience=3,
    )
    torch.testing.assert_close(found.result[1:2], alone.result)
    assert found.steps[1] == alone.steps[0]


@dataclass(frozen=True)
class TwoViews(OneNumber):
    """Of two views with a loss that couples them: (score of v x) * (score of x - v)^2."""

    def views(self, pairs, mask):
        return pairs.images * mask, pairs.images - mask

    def loss(self, pairs, mask, scores):
        return scores[0] * scores[1] ** 2


@pytest.mark.parametrize("batch_size", [1, 3, 5, 9, 20])
def test_views_share_the_network_and_gradients_are_those_of_the_whole(batch_size):
    images, index = pairs(5)
    images, sizes = images.double() + 1, []

    class Curved:
        def score(self, images, index):
            sizes.append(len(images))
            return images.square().mean((1, 2, 3)) + index

    found = learn_masks(Curved(), images, index, TwoViews(), steps=3, optimiser=Adam(0.1), batch_size=batch_size)
    assert max(sizes) <= batch_size and (max(sizes) == 10) == (batch_size == 20)
    for image, number, result in zip(images, index, found.result):
        value = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([value], 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            one, two = ((shown.square().mean() + number) for shown in (image * value, image - value))
            (one * two**2).backward()
            optimiser.step()
        torch.testing.assert_close(result, value.detach(), rtol=1e-9, atol=0)


def test_the_batch_is_halved_until_memory_suffices():
    images, index = pairs(7)
    seen = []

    class Small:
        def score(self, images, index):
            seen.append(len(images))
            if len(images) > 2:
                raise torch.OutOfMemoryError("no memory")
            return MEAN.score(images, index)

    small = learn_masks(Small(), images, index, OneNumber(), steps=5, batch_size=7)
    large = learn_masks(MEAN, images, index, OneNumber(), steps=5, batch_size=7)
    torch.testing.assert_close(small.result, large.result)
    assert seen[:2] == [7, 3] and max(seen[2:]) == 1


def test_memory_that_runs_out_half_way_loses_no_pair():
    images, index = pairs(6)
    budget = [9]

    class Shrinking:
        """Room for six at first, later for one."""

        def score(self, images, index):
            budget[0] -= 1
            if budget[0] < 0 and len(images) > 1:
                raise torch.OutOfMemoryError("no memory")
            return MEAN.score(images, index)

    found = learn_masks(Shrinking(), images, index, OneNumber(), steps=20, batch_size=6)
    expected = learn_masks(MEAN, images, index, OneNumber(), steps=20, batch_size=6)
    torch.testing.assert_close(found.result, expected.result)
    assert found.steps.tolist() == [20] * 6


def test_no_memory_for_one_pair_is_an_error():
    class Never:
        def score(self, images, index):
            raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        learn_masks(Never(), *pairs(4), OneNumber(), steps=2)


def test_gradients_that_are_not_finite_count_as_zero():
    class Broken:
        def score(self, images, index):
            # The slope of the root at 0 is infinite, and infinity times nothing is no number.
            return images.mean((1, 2, 3)) + ((images * 0).sum((1, 2, 3)) + (index == 0)).sqrt()

    images, index = pairs(2)
    found = learn_masks(Broken(), images + 1, index, OneNumber(), steps=3)
    assert found.result[1].item() == 1 and found.result[0].item() < 1 and found.result.isfinite().all()


def test_two_views_cost_two_scores_and_reach_the_loss_in_order():
    class TwoViews(OneNumber):
        def views(self, pairs, mask):
            return pairs.images * mask, pairs.images * 0 + 3 + 0 * mask

        def loss(self, pairs, mask, scores):
            assert scores.shape == (2, len(pairs))
            torch.testing.assert_close(scores[1], torch.full_like(scores[1], 3.0))
            return scores[0] ** 2

    assert learn_masks(MEAN, *pairs(3), TwoViews(), steps=2).steps.tolist() == [2, 2, 2]


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 1, "batch_size": -1}])
def test_wrong_numbers_are_refused(options):
    with pytest.raises(InputError, match="give at least 1"):
        learn_masks(MEAN, *pairs(1), OneNumber(), **options)


def test_a_mask_that_is_not_finite_is_an_error():
    class Late(OneNumber):
        def result(self, pairs):
            return torch.where(pairs.index[:, None] == 1, torch.nan, super().result(pairs))

    with pytest.raises(InputError, match="^masks: the mask that was learned for image 1 is not finite; give"):
        learn_masks(MEAN, *pairs(3), Late(), steps=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_mask_is_learned_in_halves(dtype):
    images, index = pairs(2)
    with pytest.raises(InputError, match=f"images are {dtype}, and no mask is learned in halves; give what widened"):
        learn_masks(MEAN, images.to(dtype), index, OneNumber(), steps=1)


def test_scores_that_cannot_be_learned_from_are_refused():
    class Detached:
        def score(self, images, index):
            return images.detach().mean((1, 2, 3))

    class Wrong:
        def score(self, images, index):
            return images.mean((2, 3))

    with pytest.raises(InputError, match="Detached has no gradient"):
        learn_masks(Detached(), *pairs(1), OneNumber(), steps=1)
    with pytest.raises(InputError, match=r"Wrong.score gave the shape \(2, 3\)"):
        learn_masks(Wrong(), *pairs(2), OneNumber(), steps=1)
    with pytest.raises(InputError, match="no images"):
        learn_masks(MEAN, torch.zeros(0, 3, 4, 4), torch.zeros(0, dtype=torch.long), OneNumber(), steps=1)


def test_no_gradient_reaches_the_model():
    network = Network().eval()
    learn_masks(network, *pairs(2), OneNumber(), steps=2)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
