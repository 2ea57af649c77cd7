import torch

from protomask.metrics import max_sensitivity, nearby, shared_first


def test_nearby_images_differ_by_less_than_half_a_grey_level_and_repeat():
    images = torch.rand(2, 3, 16, 16)
    found = nearby(images, [3, 4])
    noise = (found - images) * 0.226 * 255  # in grey levels
    assert 0.45 < noise.abs().max() <= 0.5 + 1e-4 and noise.mean().abs() < 0.03
    assert torch.equal(found[1], nearby(images[1:], [4])[0]) and not torch.allclose(noise[0], noise[1])
    per_channel = nearby(images, [3, 4], torch.tensor([0.0, 0.1, 1.0]).view(3, 1, 1)) - images
    assert (per_channel[:, 0] == 0).all() and per_channel[:, 1].abs().max() <= 0.1 < per_channel[:, 2].abs().max()


def test_what_the_first_pixels_share():
    one = torch.arange(20.0).view(1, 4, 5)
    assert shared_first(one, one * 2 + 1).tolist() == [1.0]
    assert shared_first(one, -one).tolist() == [0.0]
    other = one.clone()
    other[0, 3, 4] = -1  # of the two first, one is another pixel now
    torch.testing.assert_close(shared_first(one, other), torch.tensor([1 / 3]))


def test_max_sensitivity_is_the_greatest_change_relative_to_the_map():
    saliency = torch.tensor([[[0.0, 3.0], [4.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    same, moved = saliency * 2, saliency.flip(2)
    found = max_sensitivity(saliency, [same, moved])
    at, to = torch.tensor([0, 0.75, 1, 1]), torch.tensor([0.75, 0, 1, 1])
    torch.testing.assert_close(found[0], (to - at).norm() / at.norm())
    assert found[1].isnan()  # a constant map has no size to compare with
