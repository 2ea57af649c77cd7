"""What the page says of accuracies: every difference with what chance does to it, and like compared with like."""

import pytest
import torch

from protomask.errors import InputError
from protomask.report.accuracies import accuracy, difference
from protomask.report.wording import percent
from protomask.run.measures import AFTER_PROJECTION, AT_THE_END, changes
from protomask.statistics import newcombe
from protomask.training.prediction import pack_answers

SCORES = {"before_projection": 28 / 33, "after_projection": 30 / 33, "final": 30 / 33}
CONFIG = {"data": {"test": 33}}


def test_two_of_thirty_three_images_are_within_chance():
    for changed in (None, {"right_to_wrong": 1, "wrong_to_right": 3}):
        assert difference(28 / 33, 30 / 33, 33, changed).endswith(": within chance")
    words = " ".join(accuracy({"test_accuracy": SCORES}, CONFIG)["sentences"])
    assert "gained 6.1 percentage points (2 of 33 images on balance: within chance)" in words


@pytest.mark.parametrize("made", [{"saved": {"projected": True}}, {"imported": {"projected": True}}, {}])
def test_nothing_is_said_to_be_re_fitted_that_was_not(made):
    stages = ["projection", AFTER_PROJECTION, AT_THE_END]
    log = [{"stage": "projection"}] if made else [{"stage": each} for each in stages]
    found = accuracy({"test_accuracy": SCORES}, {**CONFIG, **made}, log=log)["sentences"]
    assert found[0].startswith("Tying every prototype") and not any("re-fitting" in each for each in found)
    stages.insert(2, "last layer")
    trained = accuracy({"test_accuracy": SCORES}, CONFIG, log=[{"stage": each} for each in stages])["sentences"][0]
    assert trained == accuracy({"test_accuracy": SCORES}, CONFIG)["sentences"][0] and "; re-fitting the" in trained


def test_pairs_tell_more_than_two_samples():
    # 12 of 500 images became right, none wrong: clear, though two independent samples could not tell.
    paired = difference(0.9, 0.924, 500, {"right_to_wrong": 0, "wrong_to_right": 12})
    assert paired.startswith("0 images became wrong, 12 right; 95") and "+1." in paired
    assert difference(0.9, 0.924, 500).endswith("within chance")
    assert difference(0.9, 0.924, None) == "how much of that is chance is not known"


def test_chance_is_that_of_the_sign_test_and_images_that_both_answer_right_are_no_neither():
    # 0 against 5 of 50: the sign test says .0625, the interval of shares alone excludes zero.
    assert difference(0.8, 0.9, 50, {"right_to_wrong": 0, "wrong_to_right": 5}).endswith("within chance")
    clear = difference(0.8, 0.86, 200, {"right_to_wrong": 2, "wrong_to_right": 14})
    _, low, high = newcombe(158, 14, 2, 26)
    assert clear.endswith(f"interval +{100 * low:.1f} to +{100 * high:.1f} points")
    assert difference(0.0, 0.0, 3, {"right_to_wrong": 0, "wrong_to_right": 0}).endswith("within chance")


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
    course, pruning, price = found["sentences"]
    assert pruning.endswith("re-fitted (3 images became wrong, 0 right: within chance).")
    assert course.startswith("Before pruning, tying") and "2 right: within chance" in course
    assert "more accurate by 5.0 percentage points" in price  # 0.95 against 0.90, not against 0.80
    assert price.startswith("Compared with the network before pruning, ")


COUNTS = {
    "projection": {"right_to_wrong": 1, "wrong_to_right": 3},
    "refitting": {"right_to_wrong": 1, "wrong_to_right": 1},
    "prototypes": {"right_to_wrong": 2, "wrong_to_right": 5},
}
TRAINED = {"test_accuracy": SCORES, "changes": COUNTS, "black_box_accuracy": 27 / 33}
REFINED = {"test_accuracy": {"before": 30 / 33, "after": 22 / 33}, "right_to_wrong": 9, "wrong_to_right": 1}


def test_of_a_refined_run_training_and_refining_are_told_each_by_its_own_counts():
    before = accuracy(TRAINED, CONFIG)["sentences"]
    scores = {**SCORES, "final": 22 / 33, "original": 30 / 33}
    found = accuracy({**TRAINED, "test_accuracy": scores, "steps": [{"refined": REFINED}]}, CONFIG)
    course, refining, price = found["sentences"]
    assert course == before[0].replace("Tying", "Before refining, tying")
    assert "re-fitting the last layer then left the accuracy as it was (1 image became wrong, 1 right" in course
    assert refining.startswith(
        f"Refining by a review: test accuracy was {percent(30 / 33)} before, and {percent(22 / 33)} after it (9 images"
    )
    assert price == before[1].replace("The same", "Compared with the network before refining, the same")
    assert "9.1 percentage points (2 images right only without prototypes, 5 only with them" in price
    assert [(each["value"], each["label"]) for each in found["figures"][:2]] == [
        (percent(22 / 33), "test accuracy"),
        (percent(30 / 33), "before refining"),
    ]


def test_steps_are_told_in_turn():
    pruned = {
        "from": "runs/a",
        "prototypes": 20,
        "removed": [3],
        "test_accuracy": {"before": 22 / 33, "without_refitting": 20 / 33, "after": 23 / 33},
        "right_to_wrong": 0,
        "wrong_to_right": 1,
    }
    again = {**pruned, "prototypes": 19, "test_accuracy": dict.fromkeys(pruned["test_accuracy"], 23 / 33)}
    scores = {**SCORES, "final": 23 / 33, "original": 30 / 33}
    steps = [{"refined": REFINED}, {"pruned": pruned}, {"pruned": again}]
    found = accuracy({**TRAINED, "test_accuracy": scores, "steps": steps, "pruned": again}, CONFIG)
    course, *said, price = found["sentences"]
    assert course.startswith("Before refining and pruning, tying") and "before refining and pruning" in price
    assert [text.split()[0] for text in said] == ["Refining", "1", "1"]
    assert "1 of 20" in said[1] and f"{percent(22 / 33)} with all" in said[1] and "1 of 19" in said[2]
    only = accuracy({**TRAINED, "test_accuracy": scores, "steps": steps[1:]}, CONFIG)["figures"][1]
    assert (only["label"], only["note"]) == ("before pruning", "with all 20 prototypes; now 18")


def test_of_older_runs_the_accuracy_before_refining_follows_from_the_counts_or_is_left_out():
    refined = {**CONFIG, "refined": {"from": "runs/a"}}
    old = {**TRAINED, "test_accuracy": {**SCORES, "final": 22 / 33}}
    course, refining, price = accuracy(old, refined)["sentences"]
    assert (course, price) == (
        accuracy(TRAINED, CONFIG)["sentences"][0].replace("Tying", "Before refining, tying"),
        accuracy(TRAINED, CONFIG)["sentences"][1].replace(
            "The same", "Compared with the network before refining, the same"
        ),
    )
    assert "refined.json" in refining
    uncounted = accuracy({**old, "changes": {}}, refined)
    course, refining = uncounted["sentences"]
    assert "re-fitting" not in course and "plain classifier" not in course + refining
    assert [each["label"] for each in uncounted["figures"]] == ["test accuracy", "plain classifier"]


def test_steps_of_findings_count_images_with_all_findings_right():
    config = {"data": {"test": 33, "multi_label": True}}
    scores = {**SCORES, "final": 0.9, "original": 0.95}
    found = accuracy({"test_accuracy": scores, "steps": [{"refined": REFINED}]}, config)
    share = (
        f"the share of test images with all findings right was {percent(30 / 33)} before, and {percent(22 / 33)} after"
    )
    assert f"{share} it (9 images became wrong, 1 right)" in found["sentences"][1]
    assert found["figures"][1] == {"value": percent(0.95), "label": "before refining", "note": ""}


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


def test_more_changed_answers_than_images_are_refused_by_name():
    with pytest.raises(InputError, match=r"metrics\.json.*tells of 4 changed answers of 3 test images"):
        difference(1 / 3, 2 / 3, 3, {"right_to_wrong": 1, "wrong_to_right": 3})
