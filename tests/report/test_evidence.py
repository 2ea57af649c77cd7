"""What is drawn of a map: few regions, or the word that there are none; metrics never see it."""

import numpy as np
import pytest

from protomask.report.class_overlay import outlined_box
from protomask.report.encoding import picture
from protomask.report.evidence import common_share, dimmed, find_evidence, fit_map

from .scenes import SIDE, blob, square


def specks(count: int, side: int = 224) -> np.ndarray:
    places = np.random.default_rng(0).integers(0, side, (count, 2))
    saliency = np.zeros((side, side), np.float32)
    saliency[places[:, 0], places[:, 1]] = 1
    return saliency


def test_a_region_among_specks_is_drawn_alone():
    saliency = np.maximum(0.9 * specks(200), 0.0)
    saliency[60:120, 80:140] = 1
    found = find_evidence(saliency)
    assert len(found.outlines) == 1
    assert np.allclose(found.box, (80, 60, 140, 120), atol=2) and found.share > 0.9


@pytest.mark.parametrize("saliency", [specks(300), np.ones((32, 32)), np.zeros((32, 32)), np.full((8, 8), np.nan)])
def test_a_scatter_or_a_flat_map_has_no_compact_evidence(saliency):
    found = find_evidence(saliency)
    assert not found.compact and found.outlines == [] and found.box is None and not found.region.any()
    assert outlined_box(saliency, (100, 100)) is None
    drawn = picture(np.zeros((*saliency.shape, 3), np.uint8), {"mdm": saliency}, ["mdm"], "A picture")
    assert drawn["layers"][0]["path"] == "" and "no compact evidence" in drawn["alt"]


def test_at_most_three_regions_that_hold_most_are_drawn():
    saliency = sum(weight * square(x, y)[1] for weight, x, y in ((1, 0, 0), (0.9, 40, 40), (0.8, 0, 40), (0.7, 40, 0)))
    found = find_evidence(saliency)
    assert len(found.outlines) == 3 and found.region[8, 8] and not found.region[8, 48]
    assert len(find_evidence(np.maximum(square(0, 0)[1], 0.6 * square(40, 40, 6)[1])).outlines) == 1


def test_the_outline_the_box_and_the_share_are_of_the_same_region():
    found = find_evidence(square(20, 30)[1])
    (path,) = found.outlines
    assert np.allclose(path.min(0), (20, 30), atol=0.6) and np.allclose(path.max(0), (36, 46), atol=0.6)
    assert found.box == (20, 30, 36, 46) and found.share == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [(125, 1000), (1000, 125), (40, 1000), (300, 400), (32, 48), (2, 6)])
def test_where_evidence_lies_does_not_depend_on_how_many_pixels_a_picture_is_drawn_with(size):
    generator = np.random.default_rng(0)
    for _ in range(20):
        saliency = np.zeros((SIDE, SIDE), np.float32)
        for y, x in generator.integers(0, SIDE - 6, (int(generator.integers(2, 8)), 2)):
            saliency[y : y + generator.integers(2, 7), x : x + generator.integers(2, 7)] = generator.uniform(0.5, 1)
        one = find_evidence(saliency, size=size)
        large = find_evidence(saliency, size=(8 * size[0], 8 * size[1]))
        assert one.compact == large.compact and (one.marked == large.marked).all()
        assert outlined_box(saliency, size) == (None if one.box is None else list(one.box))
        if one.box is not None:
            assert np.allclose(np.multiply(one.box, 8), large.box, atol=8)
            edges = np.concatenate(large.outlines)
            allowed = 8 * np.array(size[::-1]) / SIDE + 1e-6  # a cell of the map
            assert (edges.min(0) >= large.box[:2] - allowed).all() and (edges.max(0) <= large.box[2:] + allowed).all()
        drawn = picture(np.zeros((*size, 3), np.uint8), {"mdm": saliency}, ["mdm"], "A picture")["layers"][0]
        assert drawn["box"] == one.box


def test_the_map_is_smoothed_as_far_down_as_across_in_the_picture():
    specks = np.zeros((224, 224), np.float32)
    specks[::8, 112] = 1  # far apart in the map's own proportions, close to each other in a wide picture
    assert find_evidence(specks, size=(30, 240)).box is not None
    assert len(find_evidence(specks, size=(30, 240)).outlines) == 1 and len(find_evidence(specks).outlines) != 1


def test_a_tiny_pictures_region_has_a_pixel():
    found = find_evidence(square(3, 50, 4)[1], size=(4, 4))
    assert found.compact and found.region.sum() == 1 and found.box == (0, 3, 1, 4)


def test_on_a_picture_of_another_size_it_lies_where_the_map_had_it():
    found = find_evidence(square(16, 32)[1], size=(2 * SIDE, 4 * SIDE))
    assert found.region.shape == (128, 256) and np.allclose(found.box, (64, 64, 128, 96), atol=3)
    assert fit_map(blob(30, 30, 9), (SIDE, SIDE)) is not None and fit_map(np.ones((2, 3)), (4, 9)).shape == (4, 9)


def test_what_is_outside_is_darker_and_what_is_inside_as_it_was():
    image, saliency = square(20, 20)
    dark = dimmed(image, find_evidence(saliency))
    assert (dark[28, 28] == image[28, 28]).all() and (dark[2, 2] < image[2, 2]).all()


def test_the_common_share_is_that_of_the_drawn_regions():
    first, second, far = (find_evidence(square(x, y)[1]) for x, y in ((10, 10), (18, 10), (44, 44)))
    assert common_share(first, first) == 1 and common_share(first, far) == 0
    assert common_share(first, second) == pytest.approx(1 / 3, abs=0.03)
