"""Coverage against areas worked out by hand, and affine maps against each other."""

import math

import numpy as np
import pytest

from protomask.data.parts_raster import FULL, SIDE, SINE, Affine, Canvas, Pattern, coverage, mix, plane, smooth

SIZE = 16
PIXEL = SIDE // SIZE


def corners(*points: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Corners given in pixels."""
    x, y = np.array([[round(a * PIXEL), round(b * PIXEL)] for a, b in points], dtype=np.int64).T
    return x, y


def whole(*points: tuple[float, float]) -> np.ndarray:
    """Coverage of the whole picture."""
    covered = np.zeros((SIZE, SIZE), dtype=np.int64)
    window, part = coverage(*corners(*points), SIZE)
    if part is not None:
        covered[window] = part
    return covered


def test_a_rectangle_covers_its_pixels_and_half_of_its_rim():
    covered = whole((2, 3), (6.5, 3), (6.5, 5.25), (2, 5.25))
    expected = np.zeros((SIZE, SIZE), dtype=np.int64)
    expected[3:5, 2:6] = FULL
    expected[3:5, 6] = FULL // 2
    expected[5, 2:6] = FULL // 4
    expected[5, 6] = FULL // 8
    np.testing.assert_array_equal(covered, expected)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_sum_of_coverage_is_the_area(turn):
    points = [(1.3, 2.1), (12.7, 3.4), (9.2, 8.8), (14.1, 13.9), (4.4, 12.2), (6.1, 7.5)]  # not convex
    area = abs(sum(a * d - b * c for (a, b), (c, d) in zip(points, points[1:] + points[:1]))) / 2
    assert whole(*points[::turn]).sum() / FULL == pytest.approx(area, rel=0.01)


def test_what_lies_outside_is_cut_off():
    np.testing.assert_array_equal(whole((-40, -40), (40, -40), (40, 40), (-40, 40)), FULL)
    left = whole((-40, 4), (3, 4), (3, 6), (-40, 6))
    assert (left[4:6, :3] == FULL).all() and left.sum() == 6 * FULL
    for far in (-30, 30):
        assert not whole((far, 4), (far + 5, 4), (far + 5, 9), (far, 9)).any()


def test_maps_follow_each_other():
    points = np.array([[0, 0], [300, -200], [-123, 77]], dtype=np.int64).T.copy()
    outer = Affine.place(30000, 20000, 33, 30 << 16, flip=True)
    inner = Affine.place(100, -50, -80, 70000)
    together, one_by_one = outer.then(inner).apply(points), outer.apply(np.stack(inner.apply(points)))
    np.testing.assert_allclose(together, one_by_one, atol=40)  # of 65536: inner results are rounded to its units
    x, y = outer.apply(points)
    u, v = outer.invert(x, y)
    np.testing.assert_allclose(np.stack([np.diag(u), np.diag(v)]), points, atol=1)


def test_place_turns_clockwise_and_mirrors():
    point = np.array([[100], [0]], dtype=np.int64)
    assert [int(a[0]) for a in Affine.place(0, 0, 90).apply(point)] == [0, 100]  # y points down
    assert [int(a[0]) for a in Affine.place(0, 0, 0, flip=True).apply(point)] == [-100, 0]


def test_no_sine_is_so_near_a_tie_that_a_last_bit_could_show():
    for degree, value in enumerate(SINE):
        exact = math.sin(math.radians(degree)) * 65536
        assert abs(exact - value) < 0.5 - 1e-6, degree


def test_mixing_is_exact_at_both_ends_and_rounds_between():
    low, high = plane((0, 10, 255)), plane((255, 20, 0))
    cover = np.array([[0, 32, 64]], dtype=np.int16)
    np.testing.assert_array_equal(mix(low, high, cover)[:, 0], [[0, 128, 255], [10, 15, 20], [255, 128, 0]])


def test_painting_marks_the_owner_and_only_inside():
    canvas = Canvas(SIZE)
    square = np.array([[4, 10, 10, 4], [5, 5, 12, 12]], dtype=np.int64) * PIXEL
    canvas.paint(square, Affine(), (200, 100, 50), owner=3, edge=False)
    canvas.paint(square + 2 * PIXEL, Affine(), (1, 2, 3), edge=False)  # owns nothing
    assert (canvas.owner == 3).sum() == 6 * 7
    assert canvas.image[:, 5, 4].tolist() == [200, 100, 50] and canvas.image[:, 13, 11].tolist() == [1, 2, 3]
    assert not canvas.image[:, :5].any()


def test_an_edge_darkens_the_rim_only():
    canvas = Canvas(SIZE)
    square = np.array([[4, 10, 10, 4], [5, 5, 12, 12]], dtype=np.int64) * PIXEL
    canvas.paint(square, Affine(), (200, 100, 40))
    assert canvas.image[:, 5, 4].tolist() == [70, 35, 14] and canvas.image[:, 8, 7].tolist() == [200, 100, 40]


@pytest.mark.parametrize("kind, axis", [("stripes", 1), ("bars", 0)])
def test_bands_repeat_along_their_axis_and_fill_their_share(kind, axis):
    v, u = np.meshgrid(np.arange(800), np.arange(800), indexing="ij")
    cover = Pattern(kind, 100, (0, 0, 0), 24).cover(u, v)
    np.testing.assert_array_equal(cover, np.roll(cover, 100, axis))
    np.testing.assert_array_equal(cover, np.roll(cover, 37, 1 - axis))
    assert cover.mean() / FULL == pytest.approx(24 / 64, abs=0.03)


def test_spots_are_round_and_fill_their_share():
    v, u = np.meshgrid(np.arange(800), np.arange(800), indexing="ij")
    cover = Pattern("spots", 100, (0, 0, 0), 48).cover(u, v)
    radius = 100 * 48 / 128
    assert cover.mean() / FULL == pytest.approx(math.pi * radius**2 / 100**2, rel=0.05)


def test_smoothing_stays_inside_and_keeps_the_middle():
    square = smooth([(-100, -100), (100, -100), (100, 100), (-100, 100)], 3)
    assert square.shape == (2, 32) and np.abs(square).max() <= 100
    np.testing.assert_allclose(square.mean(axis=1), 0, atol=2)
