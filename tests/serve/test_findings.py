"""What the page says of a run whose images have any number of findings, above all where none is found."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.serve import of_run
from protomask.serve.of_classifier import open_classifier
from protomask.serve.of_run import RunSubject
from tests.report import chromium

from .conftest import client_of, explain, photo
from .serving import served

PATIENCE = 120.0


def text_of(browser, selector):
    return browser.run(f"document.querySelector({selector!r}).textContent")


def test_what_is_not_found_is_a_finding_with_its_own_probability_and_no_runner_up(findings_run):
    with client_of(RunSubject(findings_run)) as client:
        answer, _ = explain(client, photo(1, size=(64, 64)))
    asked = answer["questions"][0]
    assert asked["finding"] == asked["predicted"] == answer["classes"][0]["name"] and asked["found"] is False
    assert asked["probability"] == pytest.approx(answer["classes"][0]["probability"], abs=1e-5) and asked["points"] < 0
    assert asked["runner_up"] is None and asked["runner_up_points"] is None and asked["counter"] == []


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_the_page_says_not_found_and_names_the_localizer(findings_run, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1, size=(64, 64)))
    with served(RunSubject(findings_run)) as address, chromium.Browser() as browser:
        browser.open(address)
        assert browser.until("document.body.dataset.ready === 'true'", PATIENCE)
        browser.choose_files("#files", tmp_path / "a.png")
        assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        head, why = text_of(browser, ".verdict"), text_of(browser, ".why")
        finding = findings_run.explain(tmp_path / "a.png")[0].finding.replace("_", " ")
        assert head.startswith(f"{finding}: not found, probability ") and "no " not in head.replace("not found", "")
        assert f"What speaks most for {finding}, but is not enough" in why and "found above 0." in why
        assert "The most points win" not in why and "Why" not in why
        assert text_of(browser, "#about").startswith("Looks for 3 findings, by 6 parts")
        assert text_of(browser, ".card .status") == "The outlines are by Centre."
        legend = text_of(browser, ".legend")
        assert "Outline: Centre." in legend and "A blob in the middle of the image" in legend
        assert "Glow: the similarity map." in legend and "where the prototype is looked for" in legend
        assert "enough" not in legend and "resembles" not in legend and browser.problems == []


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_no_probability_is_certain_on_the_page_but_a_share_of_all_is(findings_run):
    with served(RunSubject(findings_run)) as address, chromium.Browser() as browser:
        browser.open(address)
        assert browser.until("document.body.dataset.ready === 'true'", PATIENCE)
        each = "[...[1, 0.9996, 0.5, 0].map(chance), ...[1, 0.9996, 0].map(percent)]"
        words = browser.run(f"import('/dom.js').then(({{chance, percent}}) => {each})")
    assert words == ["over 99 %", "over 99 %", "50 %", "under 1 %", "100 %", "over 99 %", "0 %"]


@pytest.fixture
def many(findings_run, monkeypatch):
    """A page that explains two of the three findings that any picture has."""
    monkeypatch.setattr(of_run, "MOST_FINDINGS", 2)
    bias = findings_run.network.last_layer.bias.data
    before = bias.clone()
    bias += 9
    yield RunSubject(findings_run, "similarity")
    bias.copy_(before)


def test_findings_that_are_not_explained_are_named(many, findings_run, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1, size=(64, 64)))
    found = findings_run.explain(tmp_path / "a.png", localizer="similarity")
    assert len(found) == 3
    with client_of(many) as client:
        answer, _ = explain(client, photo(1, size=(64, 64)))
    assert [each["finding"] for each in answer["questions"]] == [each.finding.replace("_", " ") for each in found[:2]]
    assert answer["others"] == [
        {"name": found[2].finding.replace("_", " "), "probability": pytest.approx(found[2].probability, abs=1e-5)}
    ]


def test_the_saved_picture_names_them_too(many):
    asked = many.read("a.png", photo(1))
    many.answer(asked)
    with_them = Image.open(io.BytesIO(many.panel(asked)))
    asked.others = []
    without = Image.open(io.BytesIO(many.panel(asked)))
    assert with_them.width == without.width and with_them.height > without.height
    assert (np.asarray(with_them.convert("RGB"))[: without.height] == np.asarray(without.convert("RGB"))).all()
    assert np.asarray(with_them.convert("L"))[without.height :].min() < 100  # ink


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_the_page_names_what_was_found_beyond_what_it_explains(many, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1, size=(64, 64)))
    with served(many) as address, chromium.Browser() as browser:
        browser.open(address)
        assert browser.until("document.body.dataset.ready === 'true'", PATIENCE)
        browser.choose_files("#files", tmp_path / "a.png")
        assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        bars = browser.run("[...document.querySelectorAll('.bars li')].map((each) => each.firstChild.textContent)")
        assert text_of(browser, ".also").startswith(f"Also found, without reasons here: {bars[2]} (")
        assert text_of(browser, "#say").endswith("; 2 more found") and browser.problems == []


@pytest.fixture(scope="module")
def yes_to_all():
    """A page of a classifier that finds each of its five classes in any picture."""
    subject = open_classifier("test_resnet:num_classes=5", image_size=64, localizer="center", multi_label=True)
    torch.nn.init.constant_(subject.classifier.model.get_classifier().bias, 3.0)
    return subject


def test_a_classifier_names_all_that_it_finds(yes_to_all):
    yes_to_all.warm_up()
    asked = yes_to_all.read("a.png", photo(1))
    answer = yes_to_all.answer(asked)
    ranked = [each["name"] for each in answer["classes"]]
    assert [each["name"] for each in answer["others"]] == ranked[2:]  # the second has a picture on the page
    assert [each["name"] for each in asked.others] == ranked[1:]  # not where it is saved
    height = Image.open(io.BytesIO(yes_to_all.panel(asked))).height
    asked.others = []
    assert Image.open(io.BytesIO(yes_to_all.panel(asked))).height < height


def test_every_finding_is_scored_again_when_a_part_is_hidden(yes_to_all):
    asked = yes_to_all.read("a.png", photo(1))
    found = yes_to_all.look_again(asked, asked.images)["classes"]
    assert sorted(each["name"] for each in found) == yes_to_all.classes
    torch.nn.init.constant_(yes_to_all.classifier.model.get_classifier().bias, -3.0)
    assert len(yes_to_all.look_again(asked, asked.images)["classes"]) == 3
    torch.nn.init.constant_(yes_to_all.classifier.model.get_classifier().bias, 3.0)


def test_words_panel_and_table_do_not_say_the_opposite(findings_run, tmp_path):
    from matplotlib.text import Text

    Image.new("RGB", (60, 60), (90, 90, 90)).save(tmp_path / "a.png")
    found = findings_run.explain(tmp_path / "a.png")
    each = found[0]
    assert f"{each.finding} not found" not in found.text()
    assert f": {each.finding}: not found (probability of {each.finding} 0.0" in found.text()
    assert f"what speaks for {each.finding}, but is not enough:" in found.text()
    assert f"points; {each.finding} is found above 0" in found.text() and "next is" not in found.text()
    assert f"{each.finding}: not found" in found.table() and f"no {each.finding}" not in found.table()
    for truth, verdict in (
        (f"no {each.finding}", "Right: it is not there"),
        (each.finding, "Wrong: it is there"),
        (None, "Not known whether it is there"),
    ):
        told = dataclasses.replace(each, true_class=truth)
        found[0] = told
        words = [text.get_text() for text in found.figure().findobj(Text)]
        name = each.finding.replace("_", " ")
        assert f"{name}: not found" in words and verdict in words
        assert any("is not enough: a finding is found above 0 points" in text for text in words)
        assert not any("next:" in text or f"no {name}" in text for text in words)
    sure = dataclasses.replace(each, logit=9.0, probability=0.9999, predicted=each.finding)
    assert sure.found and f"{each.finding}: found (probability of {each.finding} > 0.99" in sure.text()


def test_two_different_measures_have_two_names(findings_run):
    from protomask.run import pruning, refined
    from protomask.serve.versions import Versions, _named

    both = {"before": 0.5, "without_refitting": 0.5, "after": 0.5}
    counts = {"right_to_wrong": 0, "wrong_to_right": 0, "test_images": 4}
    kinds = ("removed", "forgotten", "replaced", "required", "split", "added")
    outcome = {"test_accuracy": both, "prototypes": 3, **counts, **{kind: [] for kind in kinds}}
    for told in (pruning.in_words(outcome, True), refined.in_words(outcome, True)):
        assert "share of test images with all findings right 0.500" in told and "test accuracy" not in told
    assert "test accuracy 0.500" in pruning.in_words(outcome) and "test accuracy 0.500" in refined.in_words(outcome)
    assert "right answers over all findings of the test images" in findings_run.text()
    assert Versions(findings_run.folder).in_words()[0]["findings"] is True
    assert _named([], str) == "no finding" and _named(["a", "b"], str.upper) == "A, B"
