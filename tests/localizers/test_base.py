"""What every localizer asks of images and models first."""

import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import get_localizer
from tests.support.scores import Region


class Buffers(Region):
    """Holds its normalisation as somebody else's networks do."""

    mean, std = torch.full((1, 3, 1, 1), 0.5), 0.25


def test_a_normalisation_in_any_form_is_heeded():
    network, images, index = Buffers(slice(8), slice(8)), torch.rand(1, 3, 32, 32) * 4 - 2, torch.tensor([0])
    assert get_localizer("center")(network, images, index).shape == (1, 32, 32)
    with pytest.raises(InputError, match=r"subtract the mean \(0\.5, 0\.5, 0\.5\)"):
        get_localizer("center")(network, images * 100, index)
