import torch

from protomask.localizers.engine.learning import learn_masks
from protomask.localizers.engine.variation import Variation, shifted
from tests.support.scores import pairs


def test_images_see_what_they_would_see_alone_at_every_step():
    images, steps = torch.rand(4, 3, 9, 7), torch.tensor([0, 3, 0, 1])
    variation = Variation(noise=0.3, shift=0.2, seed=5)
    whole = variation(images, images, steps, 1)
    for place in range(4):
        assert torch.equal(
            whole[place],
            variation(images[place : place + 1], images[place : place + 1], steps[place : place + 1], 1)[0],
        )


def test_steps_views_and_seeds_differ_and_repeat():
    views, first = torch.zeros(1, 3, 16, 16), torch.tensor([0])
    images = 2 * (torch.arange(768).view(1, 3, 16, 16) % 2).float()  # their standard deviation is 1
    variation = Variation(noise=0.3)
    seen = [
        variation(views, images, first, 0),
        variation(views, images, first, 1),
        variation(views, images, first + 1, 0),
        Variation(noise=0.3, seed=1)(views, images, first, 0),
    ]
    assert not any(torch.equal(one, other) for place, one in enumerate(seen) for other in seen[:place])
    assert torch.equal(seen[0], variation(views, images, first, 0))
    assert abs(torch.cat(seen).std().item() - 0.3) < 0.02


def test_shifts_repeat_the_edges_and_stay_within_their_share():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert shifted(image, 1, 0)[0, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert shifted(image, 0, -2)[0, 0, 0].tolist() == [2, 3, 3, 3]
    columns = torch.arange(40.0).expand(1, 3, 40, 40)
    moved = {
        Variation(shift=0.1)(columns, columns, torch.tensor([step]), 0)[0, 0, 20, 20].item() - 20 for step in range(60)
    }
    assert min(moved) == -4 and max(moved) == 4


def test_the_gradient_comes_back_to_where_it_belongs():
    """The score sees the pixel at (5, 5) of the shifted view; the mask's gradient lies at that pixel's own place."""
    images = torch.rand(1, 3, 11, 11, requires_grad=True)
    variation = Variation(noise=0.1, shift=0.3)
    variation(images, torch.rand(1, 3, 11, 11), torch.tensor([2]), 0)[0, :, 5, 5].sum().backward()
    place = images.grad[0, 0].nonzero()[0].tolist()
    assert images.grad.abs().sum() == 3 and max(abs(place[0] - 5), abs(place[1] - 5)) <= 3 and place != [5, 5]


def test_the_loop_varies_what_the_network_sees():
    seen = []

    class Watched:
        def score(self, images, index):
            seen.append(images.detach().clone())
            return images.mean((1, 2, 3))

    class Constant:
        def begin(self, state):
            state.learned["level"] = torch.ones(len(state), 1)

        def mask(self, state):
            return state.learned["level"].view(-1, 1, 1, 1).expand(-1, 1, *state.image_size)

        def views(self, state, mask):
            return (state.images * mask,)

        def loss(self, state, mask, scores):
            return scores[0]

        def after_step(self, state):
            state.learned["level"].fill_(1.0)

        def result(self, state):
            return state.learned["level"]

    images, index = pairs(1)
    variation = Variation(noise=0.2, shift=0.1, seed=3)
    learn_masks(Watched(), images, index, Constant(), steps=2, variation=variation)
    assert torch.equal(seen[0], images)  # what is to be kept is the score of the image itself
    for step in range(2):
        torch.testing.assert_close(seen[1 + step], variation(images, images, torch.tensor([step]), 0))
