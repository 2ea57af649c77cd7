"""What the classes and the chance of ``parts`` promise, by counting."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from protomask.data.parts_scene import CLASS_LIMIT, STREAMS, Dice, class_table, draw_scene
from protomask.data.parts_shapes import DRAWINGS, PART_NAMES, VARIANTS


def best_guess(table, parts) -> float:
    """The highest accuracy to be had from nothing but the variants of ``parts``, all classes being equally frequent."""
    seen = Counter(tuple(word[part] for part in parts) for word in table)
    return len(seen) / len(table)  # of the classes that look alike, one is guessed right


def test_the_default_classes_need_several_parts():
    table = class_table(10)
    assert all(best_guess(table, [part]) == 0.3 for part in range(6))
    assert max(best_guess(table, pair) for pair in combinations(range(6), 2)) <= 0.9
    assert min(sum(a != b for a, b in zip(one, other)) for one, other in combinations(table, 2)) == 3


@pytest.mark.parametrize("classes", range(2, CLASS_LIMIT + 1))
def test_any_number_of_classes_differs_in_two_parts_and_shares_its_variants(classes):
    table = class_table(classes)
    assert len(table) == len(set(table)) == classes and all(len(word) == len(PART_NAMES) for word in table)
    assert min(sum(a != b for a, b in zip(one, other)) for one, other in combinations(table, 2)) >= 2
    for part in range(len(PART_NAMES)):
        uses = Counter(word[part] for word in table)
        assert set(uses) <= set(range(VARIANTS)) and len(uses) >= 2
        if classes >= 4:
            assert min(uses.values()) >= 2 and best_guess(table, [part]) <= 0.5


def test_every_variant_is_drawn():
    assert len(DRAWINGS) == len(PART_NAMES) and all(len(variants) == VARIANTS for variants in DRAWINGS)


def test_the_class_decides_nothing_but_the_variants():
    one, other = (draw_scene((variant,) * 6, 3, "train", 2, 5) for variant in (0, 2))
    assert one != other and replace(one, variants=other.variants) == other


def test_scenes_differ_by_seed_stream_class_and_number():
    keys = [
        (seed, stream, label, number) for seed in (0, 1) for stream in STREAMS for label in (0, 1) for number in (0, 1)
    ]
    scenes = {draw_scene((0,) * 6, *key) for key in keys}
    assert len(scenes) == len(keys)
    assert draw_scene((0,) * 6, *keys[3]) in scenes  # and come again


def test_dice_reach_both_ends_evenly_and_never_change():
    dice = Dice(7)
    counts = np.bincount([dice.between(-2, 2) + 2 for _ in range(5000)], minlength=5)
    assert len(counts) == 5 and (abs(counts - 1000) < 150).all()
    assert [Dice(1, 2).between(0, 10**6) for _ in range(2)] == [Dice(1, 2).between(0, 10**6)] * 2
    dice = Dice(0, 1, 2)
    assert [dice.between(0, 999) for _ in range(6)] == [881, 289, 871, 125, 176, 317]
    assert dice.bytes(11).tolist() == [26, 10, 179, 216, 163, 82, 129, 52, 5, 185, 253]
