"""What the report says of findings that are found and of those that are not, with several findings per image."""

import re
from dataclasses import replace

import torch

from protomask.report.answers import Answers
from protomask.report.html import page_contents, render

from . import scenes
from .test_html import Page

SHOWN = scenes.pictures(("Mass", "Air_leak"))


def asked(finding, logit, truth, name="test/a.jpg"):
    """An explanation of whether a finding is there."""
    usual = scenes.explanation(SHOWN[:2], name=name, predicted=finding, true_class=truth)
    answers = (f"no {finding}", finding)
    return replace(
        usual,
        predicted=answers[logit > 0],
        finding=finding,
        logit=logit,
        probability=0.05 if logit < 0 else 0.9,
        runner_up=answers[logit <= 0],
        runner_up_logit=0.0,
        bias=-3.0,
        classes=("Mass", "Air_leak"),
    )


def page_of(*explanations):
    contents = {"config": {"options": {}, "data": {"multi_label": True}}, "metrics": {}, "log": [], "evaluation": None}
    text = render(pictures=SHOWN, explanations=explanations, **contents)
    return Page(text).words, Page(re.search(r'<figure class="example">.*?</figure>', text, re.S)[0]).words


def test_a_finding_that_is_not_found_is_said_so_with_what_it_lacks_and_no_runner_up():
    words, _ = page_of(asked("Air_leak", -2.99, "no Air_leak"), asked("Air_leak", -2.0, "Air_leak"))
    assert "1 Air leak: not found ✓ right" in words and "2 Air leak: not found ✗ wrong, it is there" in words
    assert "−2.99 points together; what speaks for it is not enough: a finding is found above 0 points" in words
    assert "probability 5.0 %" in words and "Points for Air leak (logit) −2.99" in words
    for wrong in ("no Air leak", "the next (logit)", "ahead of", "most points wins", "most points is predicted"):
        assert wrong not in words, wrong
    assert "found above 0 points" in words and "Prototypes of other findings" in words


def test_a_missed_finding_in_the_answers_links_to_its_own_panel():
    explanations = [asked("Mass", 1.0, "Mass"), asked("Air_leak", -1.0, "Air_leak")]
    logits, labels = torch.tensor([[1.0, -1.0]]), torch.ones(1, 2)
    answers = Answers(["Mass", "Air_leak"], ["test/a.jpg"], logits, labels)
    found = page_contents(
        config={}, metrics={}, log=[], pictures=SHOWN, explanations=explanations, evaluation=None, answers=answers
    )
    assert {row[1]: row[6] for row in found["answers"]["list"]["rows"]} == {0: "image-0", 1: "image-1"}


def test_the_example_is_a_finding_that_is_found_or_says_that_nothing_is():
    lacking, wrong, right = (
        asked("Mass", -1.0, "no Mass"),
        asked("Mass", 1.0, "no Mass"),
        asked("Air_leak", 2.0, "Air_leak"),
    )
    assert "finds Air leak in this image, most of all because" in page_of(lacking, wrong, right)[1]
    assert "finds Mass in this image" in page_of(lacking, wrong)[1]
    alone = page_of(lacking)[1]
    assert "nothing is found" in alone and "speaks most for Mass in this one, but is not enough" in alone
    assert "most of all" not in alone


def test_of_one_class_per_image_the_words_are_the_usual_ones():
    contents = {"config": {}, "metrics": {}, "log": [], "evaluation": None}
    words = Page(render(pictures=SHOWN, explanations=[scenes.explanation(scenes.pictures()[:1])], **contents)).words
    assert "takes this image for Striped bird , most of all" in words and "Predicted: Striped bird" in words
    assert (
        "The class with the most points is predicted." in words and "Points for Spotted bird, the next (logit)" in words
    )
