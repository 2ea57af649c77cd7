"""The map of the prototypes: similar ones side by side, the same each time, and thinned where there are many."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from protomask.report.html import render
from protomask.report.neighbourhoods import MOST, beside, grid_places, neighbourhoods, spread, unit_vectors

from . import scenes


def clusters(groups: int, each: int, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Groups of similar unit vectors, in an order that mixes them: vector i is of group i % groups."""
    random = np.random.default_rng(seed)
    middle = random.normal(size=(groups, 16))
    return unit_vectors(np.tile(middle, (each, 1)) + noise * random.normal(size=(groups * each, 16)))


def bare_page(shown, **more):
    return render(config=scenes.CONFIG, metrics={}, log=[], pictures=shown, explanations=[], evaluation=None, **more)


def test_similar_vectors_lie_side_by_side():
    vectors = clusters(5, 10)
    place, rows, columns = grid_places(vectors)
    assert (rows, columns) == (7, 8) and len(set(place)) == 50 and place.min() >= 0 and place.max() < 56
    likeness = vectors @ vectors.T
    assert beside(place, columns, likeness) > 0.6
    assert beside(np.random.default_rng(1).permutation(56)[:50], columns, likeness) < 0.35  # as chance does it
    group = np.arange(50) % 5
    row, column = np.divmod(place, columns)
    far = np.hypot(row[:, None] - row, column[:, None] - column)
    same = group[:, None] == group
    assert far[same & (far > 0)].mean() < 0.6 * far[~same].mean()


def test_the_same_vectors_give_the_same_map_whatever_their_length():
    vectors = clusters(3, 7)
    first, again = grid_places(vectors)[0], grid_places(unit_vectors(vectors * np.linspace(1, 9, 21)[:, None]))[0]
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_a_grid_has_room_for_any_number(count):
    place, rows, columns = grid_places(clusters(1, count))
    assert len(set(place)) == count and rows * columns >= count and place.max() < rows * columns
    assert len(set(grid_places(np.tile(clusters(1, 1), (count, 1)))[0])) == count  # also where all are the same


def test_of_many_each_group_keeps_one_that_stands_for_the_others():
    vectors = clusters(20, 10, noise=0.02)
    chosen, stands = spread(vectors, 20)
    assert chosen == sorted(chosen) and {each % 20 for each in chosen} == set(range(20))
    assert all(chosen[stands[each]] % 20 == each % 20 for each in range(200))
    assert spread(vectors, 200)[0] == list(range(200))


def test_the_map_of_many_prototypes_says_what_it_leaves_out():
    shown = scenes.pictures(each=150)
    vectors = np.random.default_rng(0).normal(size=(300, 8, 1, 1))
    found = neighbourhoods(shown, vectors, "mdm")
    assert len(found["marks"]) == MOST and found["total"] == 300
    assert sum(mark["others"] for mark in found["marks"]) == 300 - MOST
    assert [mark["row"] for mark in found["marks"]] == sorted(mark["row"] for mark in found["marks"])
    page = bare_page(shown, vectors=vectors)
    assert "Of 300 prototypes 196 are shown" in page and len(re.findall(r'data-of="\d+"', page)) == MOST


def test_each_mark_shows_what_its_prototype_looks_at_and_leads_to_it():
    shown = scenes.pictures()
    vectors = np.repeat(np.eye(3), 2, 0) + 0.01 * np.arange(18).reshape(6, 3)
    found = neighbourhoods(shown, vectors, "mdm")
    assert sorted(mark["number"] for mark in found["marks"]) == list(range(6))
    assert {mark["number"]: mark["nearest"] for mark in found["marks"]} == {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4}
    assert [[one["number"] for one in each["pair"]] for each in found["alike"]][0] == [2, 3]  # of two classes
    uri = next(mark["photo"] for mark in found["marks"] if mark["number"] == 0)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"), float)
    assert pixels.shape[0] == pixels.shape[1] < 64 and (pixels[..., 0] > 150).mean() > 0.5  # the bright square
    colours = {mark["class_name"]: mark["colour"] for mark in found["marks"]}
    assert colours == {each["name"]: each["colour"] for each in found["classes"]} and len(set(colours.values())) == 2


def test_without_vectors_or_with_few_prototypes_there_is_no_map():
    shown = scenes.pictures()
    assert neighbourhoods(shown, None, "mdm") is None
    assert neighbourhoods(shown[:5], np.eye(6), "mdm") is None
    page = bare_page(shown)
    assert "Neighbourhoods" not in page
