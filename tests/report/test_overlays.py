import numpy as np
import pytest

from protomask.errors import InputError
from protomask.report.overlays import crop, disagreement, outlines, region

from .scenes import SIDE, square


def test_outline_runs_along_the_edges_of_the_marked_square():
    (path,) = outlines(square(20, 30)[1], 0.5)
    assert np.allclose(path.min(0), (20, 30), atol=0.6) and np.allclose(path.max(0), (36, 46), atol=0.6)
    assert np.allclose(path[0], path[-1])


def test_outline_of_a_smooth_map_lies_where_it_has_the_level():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    saliency = np.clip(1 - np.hypot(columns + 0.5 - 30, rows + 0.5 - 34) / 24, 0, 1).astype(np.float32)
    for level, radius in ((0.5, 12), (0.25, 18)):
        (path,) = outlines(saliency, level)
        assert np.allclose(np.hypot(path[:, 0] - 30, path[:, 1] - 34), radius, atol=0.7)


def test_outline_at_the_border_is_closed_within_the_image():
    (path,) = outlines(square(0, 48)[1], 0.5)
    assert np.allclose(path[0], path[-1])
    assert path.min() >= 0 and path.max() <= SIDE
    assert np.allclose(path.min(0), (0, 48), atol=0.6) and np.allclose(path.max(0), (16, 64), atol=0.6)


def test_outlines_are_relative_to_the_maximum_and_find_every_piece():
    saliency = 0.2 * (square(4, 4)[1] + square(40, 40)[1])
    assert len(outlines(saliency)) == 2


@pytest.mark.parametrize("saliency", [np.zeros((8, 8)), np.full((8, 8), np.nan)])
def test_a_map_without_a_positive_value_has_no_outline(saliency):
    assert outlines(saliency) == [] and not region(saliency).any()


def test_disagreement():
    a, b = square(10, 10)[1], square(18, 10)[1]
    assert disagreement(a, a) == 0
    assert disagreement(a, square(40, 40)[1]) == 1
    assert disagreement(a, b) == pytest.approx(1 - 8 / 24)  # half of each square is common
    with pytest.raises(InputError, match="one size"):
        disagreement(a, np.ones((3, 3)))


def test_crop_is_end_exclusive_and_never_empty():
    image = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    assert np.array_equal(crop(image, (3, 5, 7, 6)), image[5:6, 3:7])
    assert np.array_equal(crop(image, (60, 60, 99, 99)), image[60:, 60:])
    assert crop(image, (64, 64, 70, 70)).size == 1


def test_a_map_of_another_shape_is_named():
    with pytest.raises(InputError, match=r"\(2, 3, 4\)"):
        outlines(np.zeros((2, 3, 4)))


def test_specks_are_not_outlined_unless_there_is_nothing_else():
    saliency = np.zeros((100, 100), np.float32)
    saliency[10:13, 10:13] = 1  # 9 of 10,000 pixels
    (alone,) = outlines(saliency)
    assert np.allclose([alone.min(0), alone.max(0)], [[10, 10], [13, 13]], atol=0.6)
    saliency[40:60, 30:80] = 1
    saliency[50, 50] = 0  # a hole of one pixel
    (large,) = outlines(saliency)
    assert np.allclose([large.min(0), large.max(0)], [[30, 40], [80, 60]], atol=0.6)
    assert len(outlines(saliency, speck=0)) == 3
