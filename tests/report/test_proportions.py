"""Pictures are shown as they were photographed: the maps are stretched over them, and marks follow."""

from dataclasses import replace

import numpy as np
import pytest

from protomask.explanations.files import read_pictures, save_pictures
from protomask.explanations.photographs import photograph
from protomask.report import beside_official, localizer_comparison, prototype_gallery, this_looks_like_that
from protomask.report.animation import Stage, frame
from protomask.report.encoding import photo_side, photo_uri, picture
from protomask.run_folder import RunFolder

from . import scenes
from .test_figures import outside, overlaps


def wide(shown):
    """The same pictures, photographed twice as wide."""
    return [replace(each, image=each.image.repeat(2, axis=1)) for each in shown]


def test_outline_box_and_cell_are_stretched_with_the_map():
    (shown,) = wide([scenes.picture(0)])
    drawn = picture(shown.image, shown.maps, ["mdm"], "A bird", cell=(0, 16, 16, 32))
    assert (drawn["width"], drawn["height"]) == (128, 64) and drawn["cell"] == [0, 16, 32, 32]
    assert np.allclose(drawn["layers"][0]["box"], (16, 12, 48, 28), atol=2)


def test_every_figure_takes_photographs_of_any_proportions():
    shown = wide(scenes.pictures())
    explained = scenes.explanation(shown[:3], counter=shown[3:5])
    explained = replace(explained, image=explained.image[:20])
    for figure in (
        prototype_gallery(shown, "mdm"),
        beside_official(shown),
        this_looks_like_that(explained, "mdm"),
        localizer_comparison(explained.image, explained.matches[0].maps, prototype=shown[0]),
    ):
        figure.canvas.draw()
        assert outside(figure) == [] and overlaps(figure) == []
        photos = [axes for axes in figure.axes if axes.images and axes.images[0].get_array().shape[:2] == (64, 128)]
        assert all(axes.get_aspect() == 1 for axes in figure.axes if axes.images)
        assert all(abs(axes.get_window_extent().width / axes.get_window_extent().height - 2) < 0.02 for axes in photos)
    stages = [Stage(1, shown[0].maps["mdm"], 0.5, 0.2), Stage(2, shown[0].maps["mdm"], 0.9, 0.3)]
    assert frame(shown[0].image, stages, 1, "mdm", "A mask").ndim == 3


def test_photographs_of_different_sizes_are_written_and_read(tmp_path):
    shown = scenes.pictures()
    shown[1] = wide(shown[1:2])[0]
    run = RunFolder(tmp_path)
    save_pictures(run, shown)
    found = read_pictures(run)
    assert [each.image.shape for each in found] == [each.image.shape for each in shown]
    assert np.abs(found[1].maps["similarity"] - shown[1].maps["similarity"]).max() < 0.003


@pytest.mark.parametrize("size", [(100, 300), (2000, 1000), (5, 5)])
def test_a_photograph_keeps_its_proportions_within_a_bound(size):
    found = photograph(np.zeros((*size, 3), np.uint8))
    assert max(found.shape[:2]) == min(640, max(size)) and found.shape[0] * size[1] == found.shape[1] * size[0]


def test_two_hundred_detailed_photographs_stay_below_twenty_megabytes():
    rows, columns = np.mgrid[:600, :800]
    noise = np.random.default_rng(0).normal(0, 12, (600, 800, 3))
    texture = 110 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    photo = np.uint8(np.clip(texture[..., None] + noise, 0, 255))
    assert 200 * len(photo_uri(photo, side=photo_side(208))) < 17e6
