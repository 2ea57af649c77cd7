import pytest
import torch

from protomask.errors import InputError
from protomask.localizers.engine.masks import background, grid_shape, upsample
from tests.support.scores import pairs


def test_grids_follow_the_image():
    assert grid_shape(7, (224, 224)) == (7, 7)
    assert grid_shape(7, (224, 225)) == grid_shape(7, (225, 224)) == (7, 7)
    assert grid_shape(7, (448, 224)) == (14, 7)
    assert grid_shape(28, (5, 9)) == (5, 9)
    assert grid_shape(1, (10, 500)) == (1, 50)


def test_upsampling_is_bilinear_between_centres():
    vector = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(upsample(vector, (1, 4)).flatten(), torch.tensor([0, 0.25, 0.75, 1]))
    assert upsample(torch.rand(2, 1, 7, 7), (33, 50)).shape == (2, 1, 33, 50)


def test_backgrounds():
    images, index = pairs(3, 36, 40)
    assert background(images, index, "zero").abs().max() == 0
    blurred = background(images, index, "blur")
    assert blurred.shape == images.shape and blurred.std() < 0.3 * images.std()
    flat = torch.full_like(images, 0.4)
    torch.testing.assert_close(background(flat, index, "blur"), flat)
    noise = background(images, index, "noise", seed=3)
    assert noise.shape == images.shape and abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    assert torch.equal(noise[1:2], background(images[1:2], index[1:2], "noise", seed=3))
    assert not torch.equal(noise, background(images, index, "noise", seed=4))
    with pytest.raises(InputError, match="'grey'.*zero, blur, noise"):
        background(images, index, "grey")


def test_blur_of_the_smallest_images():
    assert background(torch.rand(1, 3, 1, 2), torch.zeros(1, dtype=torch.long), "blur").isfinite().all()


def test_black_is_what_normalisation_makes_of_zero():
    from protomask.explainable import Classifier
    from protomask.localizers.engine.masks import black_pixel

    classifier = Classifier(torch.nn.Linear(1, 1), mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    torch.testing.assert_close(
        black_pixel(classifier, torch.zeros(2, 3, 4, 4)).flatten(), torch.tensor([-1.0, -2.0, -3.0])
    )
    with pytest.raises(InputError, match="normalisation"):
        black_pixel(Classifier(torch.nn.Linear(1, 1)), torch.zeros(2, 3, 4, 4))


def test_blur_of_one_channel_keeps_sums_inside():
    from protomask.localizers.engine.masks import gaussian_blur

    spot = torch.zeros(1, 1, 31, 31)
    spot[0, 0, 15, 15] = 1
    found = gaussian_blur(spot, 3.0)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found, found.transpose(2, 3))
    assert found[0, 0, 15, 18] / found[0, 0, 15, 15] == pytest.approx(float(torch.tensor(-0.5).exp()), rel=1e-4)
