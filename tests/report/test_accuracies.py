"""What the page says of accuracies: every difference with what chance does to it, and like compared with like."""

import pytest
import torch

from protomask.report.accuracies import accuracy, difference
from protomask.run.measures import changes
from protomask.training.prediction import pack_answers

SCORES = {"before_projection": 28 / 33, "after_projection": 30 / 33, "final": 30 / 33}
CONFIG = {"data": {"test": 33}}


def test_two_of_thirty_three_images_are_within_chance():
    for changed in (None, {"right_to_wrong": 1, "wrong_to_right": 3}):
        assert difference(28 / 33, 30 / 33, 33, changed).endswith(": within chance")
    words = " ".join(accuracy({"test_accuracy": SCORES}, CONFIG)["sentences"])
    assert "gained 6.1 percentage points (2 of 33 images on balance: within chance)" in words


def test_pairs_tell_more_than_two_samples():
    # 12 of 500 images became right, none wrong: clear, though two independent samples could not tell.
    paired = difference(0.9, 0.924, 500, {"right_to_wrong": 0, "wrong_to_right": 12})
    assert paired.startswith("0 images became wrong, 12 right; 95") and "+1." in paired
    assert difference(0.9, 0.924, 500).endswith("within chance")
    assert difference(0.9, 0.924, None) == "how much of that is chance is not known"


def test_a_pruned_run_is_compared_with_the_network_that_it_was():
    pruned = {
        "from": "runs/a",
        "prototypes": 20,
        "removed": [3, 7],
        "test_accuracy": {"before": 0.9, "without_refitting": 0.7, "after": 0.8},
        "right_to_wrong": 3,
        "wrong_to_right": 0,
    }
    metrics = {
        "test_accuracy": {**SCORES, "final": 0.8},
        "pruned": pruned,
        "changes": {"projection": {"right_to_wrong": 0, "wrong_to_right": 2}},
        "black_box_accuracy": 0.95,
    }
    found = accuracy(metrics, CONFIG)
    assert [each["label"] for each in found["figures"]] == ["test accuracy", "before pruning", "plain classifier"]
    assert found["figures"][1]["note"] == "with all 20 prototypes; now 18"
    pruning, course, price = found["sentences"]
    assert pruning.endswith("re-fitted (3 images became wrong, 0 right: within chance).")
    assert course.startswith("Before pruning, tying") and "2 right: within chance" in course
    assert "more accurate by 5.0 percentage points" in price  # 0.95 against 0.90, not against 0.80


def test_answers_that_changed_are_counted():
    answers = {
        "before_projection": pack_answers(torch.tensor([True, True, False, False, True, False, True, False, True])),
        "after_projection": pack_answers(torch.tensor([True, False, True, True, True, False, True, False, False])),
    }
    assert changes(answers) == {"projection": {"right_to_wrong": 2, "wrong_to_right": 2}}


@pytest.mark.parametrize("findings", [True, False])
def test_answers_to_findings_have_no_interval(findings):
    config = {"data": {"test": 33, "multi_label": findings}}
    words = " ".join(accuracy({"test_accuracy": SCORES}, config)["sentences"])
    assert ("not known" in words) == findings and ("within chance" in words) != findings
