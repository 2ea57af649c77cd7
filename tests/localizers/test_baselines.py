import torch

from protomask.localizers.baselines import CenterMap, RandomMap
from tests.support.scores import Network, pairs


def test_random_depends_on_image_index_and_seed_alone():
    images, index = pairs(3, 20, 31)
    images[2] = images[0]
    index = torch.tensor([1, 1, 1])
    network = Network()
    maps = RandomMap()(network, images, index)
    assert torch.equal(maps[0], maps[2]) and not torch.equal(maps[0], maps[1])
    assert torch.equal(RandomMap()(network, images[1:2], index[1:2])[0], maps[1])
    assert not torch.equal(RandomMap()(network, images[:1], torch.tensor([2]))[0], maps[0])
    assert not torch.equal(RandomMap(seed=1)(network, images[:1], index[:1])[0], maps[0])


def test_random_is_uniform_and_uncorrelated_between_pairs():
    images, index = pairs(4, 64, 64)
    maps = RandomMap()(Network(), images, index).flatten(1)
    # 4096 uniform values: the standard error of the mean is .0045, of a correlation .016.
    assert torch.allclose(maps.mean(1), torch.tensor(0.5), atol=0.025)
    assert torch.allclose(maps.var(1), torch.tensor(1 / 12), atol=0.008)
    assert (torch.corrcoef(maps) - torch.eye(4)).abs().max() < 0.08
    shares = torch.histc(maps, 8, 0, 1) / maps.numel()
    assert torch.allclose(shares, torch.tensor(1 / 8), atol=0.015)
    neighbours = torch.corrcoef(torch.stack([maps[0, :-1], maps[0, 1:]]))[0, 1]
    assert neighbours.abs() < 0.08


def test_random_takes_permuted_pixels_for_another_image():
    images, index = pairs(1)
    moved = images.roll(1, 3)
    assert not torch.equal(RandomMap()(Network(), images, index), RandomMap()(Network(), moved, index))


def test_center_peaks_in_the_middle_and_is_symmetric():
    maps = CenterMap()(Network(), *pairs(2, 21, 31))
    assert maps.shape == (2, 21, 31) and maps.dtype == torch.float32
    assert maps[0].argmax() == 10 * 31 + 15 and maps.amax() == 1 and maps.amin() == 0
    torch.testing.assert_close(maps, maps.flip(2))
    torch.testing.assert_close(maps, maps.flip(1))
