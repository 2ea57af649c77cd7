"""Which test images the report explains, and which figures it writes."""

from dataclasses import replace

import pytest
import torch

from protomask.report.answers import Answers
from protomask.run.page import explain_test_images, write_figures
from tests.report import scenes


def answered(test, wrong):
    """Answers on the test images, of which those at ``wrong`` are wrong."""
    logits = torch.nn.functional.one_hot(test.labels, 3).float()
    logits[wrong] = logits[wrong].roll(1, 1)
    return Answers(test.classes, test.names, logits, test.labels)


@pytest.mark.parametrize(
    ("wrong", "count", "wrong_shown"),
    [((), 8, 0), ((0,), 8, 1), (range(5), 6, 3), (range(5), 8, 4), (range(8), 6, 5), ((0, 1), 1, 0), (range(9), 3, 3)],
)
def test_as_many_images_are_explained_as_are_asked_for_and_half_of_them_are_right_where_so_many_are(
    in_memory, wrong, count, wrong_shown
):
    run = in_memory[0]
    answers = answered(run.test, list(wrong))
    found = explain_test_images(run, run.pictures, count, answers)
    names = [each.name for each in found]
    assert len(set(names)) == len(names) == count
    mistaken = {run.test.names[place] for place in wrong}
    assert [name in mistaken for name in names] == [False] * (count - wrong_shown) + [True] * wrong_shown
    right = [run.test.truth(run.test.names.index(name)) for name in names if name not in mistaken]
    possible = {run.test.truth(place) for place in range(9) if place not in wrong}
    different = min(len(possible), len(right))
    assert len(set(right[:different])) == different, "different classes first"


def test_prototypes_that_are_pooled_are_not_drawn_as_the_official_protopnet_draws_patches(tmp_path):
    usual = scenes.pictures(each=1)
    pooled = [replace(each, record=replace(each.record, levels={"similarity": 0.3})) for each in usual]
    assert [path.name for path in write_figures(tmp_path, "svg", usual, [], None, [])] == ["official.svg"]
    assert write_figures(tmp_path / "pooled", "svg", pooled, [], None, []) == []
