from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.errors import InputError
from protomask.localizers import MDM, CenterMap, Keep
from protomask.report import grow, save_animation
from protomask.report.animation import frame, stopped_after


class Corner:
    """The score is the mean of the upper left quarter."""

    def score(self, images, index):
        return images[:, :, :4, :4].mean((1, 2, 3))


@dataclass(frozen=True)
class Growing:
    """After k of its steps it shows k columns."""

    steps: int = 8
    rate: float = 0.1

    def __call__(self, explained, images, index, *, progress=False):
        saliency = torch.zeros(len(images), *images.shape[2:])
        saliency[:, :, : self.steps] = 1
        return saliency


def test_stages_are_the_localizer_stopped_earlier():
    image = torch.ones(3, 8, 8)
    stages = grow(Growing(), Corner(), image, 0, frames=4)
    assert [each.steps for each in stages] == [1, 2, 4, 8]
    for each in stages:
        assert each.saliency[:, : each.steps].all() and not each.saliency[:, each.steps :].any()
        assert each.shown == each.steps / 8 and each.kept == pytest.approx(min(each.steps, 4) / 4)
    assert [each.steps for each in grow(Growing(), Corner(), image, 0, frames=50)] == list(range(1, 9))


def test_the_last_stage_of_a_learned_mask_is_its_map():
    mdm = MDM(keep=Keep(sizes=(2, 4)))
    image = torch.rand(3, 8, 8)
    last = grow(mdm, Corner(), image, 0, frames=3)[-1]
    np.testing.assert_allclose(last.saliency, mdm(Corner(), image[None], torch.tensor([0]))[0].numpy(), atol=1e-6)


def test_what_learns_nothing_does_not_grow():
    with pytest.raises(InputError, match="CenterMap has no steps"):
        stopped_after(CenterMap(), 3)
    with pytest.raises(InputError, match="Growing has no steps.*mdm"):
        grow(Growing(steps=0), Corner(), torch.ones(3, 8, 8), 0)


def test_the_gif_shows_every_stage(tmp_path):
    picture = np.full((8, 8, 3), 200, np.uint8)
    stages = grow(Growing(), Corner(), torch.ones(3, 8, 8), 0, frames=3)
    path = save_animation(tmp_path / "new" / "mask.gif", picture, stages, "mdm", "Prototype 3")
    with Image.open(path) as gif:
        assert gif.n_frames == 3 and gif.info["loop"] == 0 and gif.info["duration"] == 500
        gif.seek(2)
        assert gif.info["duration"] == 2000
    first, last = (frame(picture, stages, place, "mdm", "Prototype 3").astype(int) for place in (0, 2))
    assert first.shape == last.shape and np.abs(first - last).mean() > 1
    with pytest.raises(InputError, match=r"\.gif"):
        save_animation(tmp_path / "mask.mp4", picture, stages, "mdm", "x")
