import math

import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import ExtremalPerturbation
from protomask.localizers.extremal import smooth_maximum
from tests.support.scores import Network, Region, pairs


def test_the_mask_takes_the_area_and_keeps_the_evidence():
    class Logit(Region):
        kind = "logit"

        def score(self, images, index):
            return 100 * super().score(images, index)

    images, _ = pairs(1, 32, 32)
    images[:, :, 4:16, 16:28] += 4
    settings = ExtremalPerturbation(areas=(0.15,), steps=150, rate=0.02, cell=14, reach=21, image_blur=60)
    saliency = settings(Logit(slice(4, 16), slice(16, 28)), images, torch.tensor([0]))[0]
    assert saliency[4:16, 16:28].mean() > 4 * saliency[18:].mean()
    assert 0.08 < (saliency > 0.5).float().mean() < 0.25


def test_smooth_maximum_follows_its_definition():
    """Point by point with loops; cells of 7 pixels, points at their 1/8, 3/8, 5/8 and 7/8."""
    cells, reach = torch.rand(1, 1, 4, 3, dtype=torch.float64), 1.7
    found = smooth_maximum(cells, reach)
    assert found.shape == (1, 1, 16, 12)
    radius = 1 + math.ceil(reach)
    for row, column in ((0, 0), (5, 7), (15, 11), (8, 3)):
        y, x = (row + 0.5) / 4 - 0.5, (column + 0.5) / 4 - 0.5
        home, values = (row // 4, column // 4), []
        for i in range(home[0] - radius, home[0] + radius + 1):
            for j in range(home[1] - radius, home[1] + radius + 1):
                inside = 0 <= i < 4 and 0 <= j < 3
                distance = math.hypot(y - i, x - j) / reach
                values.append(math.exp(-2 * max(distance - 0.5, 0) ** 2) * (cells[0, 0, i, j].item() if inside else 0))
        weights = [math.exp(20 * value) for value in values]
        expected = sum(value * weight for value, weight in zip(values, weights)) / sum(weights)
        assert found[0, 0, row, column].item() == pytest.approx(expected, abs=1e-9)


def test_several_areas_are_averaged_and_batches_do_not_mix():
    network = Network().double().eval()
    images, index = pairs(3, 24, 31)
    images = images.double()
    settings = ExtremalPerturbation(areas=(0.1, 0.3), steps=5, cell=28, levels=3)
    whole = settings(network, images, index)
    each = torch.cat([settings(network, images[place : place + 1], index[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "settings", [{"areas": ()}, {"areas": (1.5,)}, {"steps": 0}, {"levels": 1}, {"precision": "half"}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match="ExtremalPerturbation"):
        ExtremalPerturbation(**settings)
