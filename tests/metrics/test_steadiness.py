import math

import torch

from protomask.metrics import max_sensitivity, nearby, shared_first, with_unseen_noise
from protomask.wanted import IMAGENET


def test_nearby_images_differ_by_less_than_half_a_grey_level_and_repeat():
    images = torch.rand(2, 3, 16, 16)
    found = nearby(images, [3, 4])
    noise = (found - images) * 0.226 * 255  # in grey levels
    assert 0.45 < noise.abs().max() <= 0.5 + 1e-4 and noise.mean().abs() < 0.03
    assert torch.equal(found[1], nearby(images[1:], [4])[0]) and not torch.allclose(noise[0], noise[1])
    per_channel = nearby(images, [3, 4], torch.tensor([0.0, 0.1, 1.0]).view(3, 1, 1)) - images
    assert (per_channel[:, 0] == 0).all() and per_channel[:, 1].abs().max() <= 0.1 < per_channel[:, 2].abs().max()


def test_unseen_noise_is_below_half_a_grey_level_in_every_channel():
    images, deviations = torch.zeros(2, 3, 32, 32), torch.tensor(IMAGENET[1]).view(3, 1, 1)
    by_default = nearby(images, [3, 4]) * deviations * 255
    assert 0.48 < by_default.abs().max() <= 0.5
    for std in ((0.5, 0.5, 0.5), [0.2, 0.25, 0.3], (1, 1, 1)):
        noise = with_unseen_noise(images, std, [3, 4]) * torch.tensor(std).view(3, 1, 1) * 255
        assert (noise.abs().amax((0, 2, 3)) > 0.49).all() and noise.abs().max() <= 0.5 + 1e-5
    grey = with_unseen_noise(images[:, :1], (0.5,), [3, 4])
    assert grey.shape == (2, 1, 32, 32) and 0.49 < grey.abs().max() * 0.5 * 255 <= 0.5 + 1e-5


def test_what_the_first_pixels_share():
    one = torch.arange(20.0).view(1, 4, 5)
    assert shared_first(one, one * 2 + 1).tolist() == [1.0]
    assert shared_first(one, -one).tolist() == [0.0]
    other = one.clone()
    other[0, 3, 4] = -1  # of the two first, one is another pixel now
    torch.testing.assert_close(shared_first(one, other), torch.tensor([1 / 3]))


def spot(row, column, size=14, value=1.0, ground=0.0):
    found = torch.full((1, 96, 96), ground)
    found[:, row : row + size, column : column + size] = value
    return found


def test_equal_pixels_are_shared_out_whatever_their_place():
    """Zeros in reading order were the same in all maps: disjoint spots of 2 % "shared" 0.65."""
    one, two = spot(60, 10), spot(60, 70)
    assert shared_first(one, two).item() == 0 and shared_first(one, one.clone()).item() == 1
    half = spot(60, 17)  # half of the spot, moved by half its width
    torch.testing.assert_close(shared_first(one, half), torch.tensor([1 / 3]))
    wide, apart = spot(0, 0, 40), spot(50, 50, 40)  # more than a tenth: as many pixels each are drawn from it
    torch.testing.assert_close(shared_first(wide, spot(0, 20, 40)), torch.tensor([1 / 3]))
    assert shared_first(wide, apart).item() == 0 and shared_first(wide, wide * 3).item() == 1
    step = torch.maximum(one, spot(50, 50, 40, 0.5))  # two levels: the spot, and some of what is below it
    flipped = [each.flip(1).transpose(1, 2) for each in (one, step)]
    torch.testing.assert_close(shared_first(one, step), shared_first(*flipped))
    torch.testing.assert_close(shared_first(one, step), shared_first(step, one))
    assert 0 < shared_first(one, step).item() < 1


def test_a_constant_map_has_no_first_pixels():
    one, blank = spot(60, 10), torch.zeros(1, 96, 96)
    found = [shared_first(*maps).item() for maps in ((blank, one), (blank, blank + 0.5), (one, blank))]
    assert math.isnan(found[0]) and math.isnan(found[1]) and found[2] == 0


def test_max_sensitivity_is_the_greatest_change_relative_to_the_map():
    saliency = torch.tensor([[[0.0, 3.0], [4.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    same, moved = saliency * 2, saliency.flip(2)
    found = max_sensitivity(saliency, [same, moved])
    at, to = torch.tensor([0, 0.75, 1, 1]), torch.tensor([0.75, 0, 1, 1])
    torch.testing.assert_close(found[0], (to - at).norm() / at.norm())
    assert found[1].isnan()  # a constant map has no size to compare with
