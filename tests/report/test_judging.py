"""Judging in the static report, in a real Chromium: marks become a file that refining reads."""

import json
import time

import pytest

from protomask.report import write_report
from protomask.run.review import read_review

from . import chromium, scenes

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")


@pytest.fixture(scope="module")
def pictures():
    return scenes.inspected(scenes.pictures())[0]


@pytest.fixture(scope="module")
def report(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("judged") / "report.html"
    return write_report(path, config=scenes.CONFIG, metrics=scenes.METRICS, pictures=pictures, answers=scenes.answers())


def mark(browser, number, verdict, note=None):
    browser.run(f"document.querySelector('#prototype-{number} .verdicts input[value={verdict}]').click()")
    if note is not None:
        browser.run(
            f"(() => {{ const field = document.querySelector('#prototype-{number} .note'); field.value = {note!r};"
            "field.dispatchEvent(new Event('change')); })()"
        )


def told(browser):
    return browser.run("document.querySelector('.judge-told').value")


def test_marks_are_saved_as_a_file_that_refining_reads(report, pictures, tmp_path):
    with chromium.Browser() as browser:
        browser.open(report)
        assert browser.run("document.querySelectorAll('.verdicts').length") == 0
        assert browser.run("document.querySelectorAll('#prototypes .judge').length") == 1
        browser.run("document.querySelector('.judge-on').focus()")
        browser.press(" ")
        assert browser.run("document.querySelectorAll('.verdicts').length") == len(pictures)
        assert browser.run("document.querySelector('.save-marks').disabled")
        mark(browser, 2, "forget")
        assert "initials" in told(browser) and browser.run("document.querySelector('.save-marks').disabled")
        browser.run(
            "(() => { const field = document.querySelector('.initials'); field.value = 'RB';"
            "field.dispatchEvent(new Event('input')); })()"
        )
        mark(browser, 2, "keep")
        mark(browser, 2, "forget", "burnt-in <letters>")
        mark(browser, 3, "keep")
        assert told(browser) == "2 prototypes marked"
        browser.open(report)  # loaded anew: nothing is lost
        assert told(browser) == "2 prototypes marked"
        assert browser.run("document.querySelector('#prototype-2').dataset.verdict") == "forget"
        browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        browser.run("document.querySelector('.save-marks').click()")
        file = tmp_path / "review.json"
        deadline = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert browser.problems == []
        assert [each for each in browser.requests if not each.startswith(("file:", "data:", "blob:"))] == []
    review = read_review(file)
    review.check_fits([picture.record for picture in pictures], "the file")
    assert review.numbers("forget") == [2] and review.numbers("keep") == [3]
    assert review.standing()[2].words == {"RB": ("forget", "burnt-in <letters>")}
    assert len({each["id"] for each in json.loads(file.read_text())["judgements"]}) == 4


def test_parts_are_outlined_by_keyboard_and_by_pointer(report, pictures, tmp_path):
    with chromium.Browser() as browser:
        browser.open(report)
        browser.run("document.querySelector('.judge-on').checked || document.querySelector('.judge-on').click()")
        browser.run(
            "(() => { const field = document.querySelector('.initials'); field.value = 'AM';"
            "field.dispatchEvent(new Event('input')); })()"
        )
        browser.run("document.querySelector('#prototype-1 .outline-part').click()")
        for key in (" ", "ArrowRight", "ArrowRight", " ", "ArrowDown", " ", "Enter"):
            browser.press(key)
        browser.press("Tab")  # from "it should look here" to the class
        browser.press("Enter")
        assert browser.run("document.querySelector('#prototype-1 .outlines').innerText.includes('its class must look')")
        browser.run("document.querySelector('#prototype-4 .outline-part').click()")
        box = browser.run(
            "(() => { const field = document.querySelector('.outlining'); field.scrollIntoView({ block: 'center' });"
            "const box = field.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()"
        )
        corners = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8))]
        for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseReleased"), corners):
            if kind == "mouseReleased":
                browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
            browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        browser.run("document.querySelectorAll('#prototype-4 .asked button')[2].click()")
        browser.run("document.querySelector('#prototype-4 .outlines button').click()")  # and withdrawn
        marks = json.loads(browser.run("JSON.stringify(Object.values(localStorage).find((each) => each[0] === '['))"))
        assert browser.problems == []
    (tmp_path / "review.json").write_text(json.dumps({"judgements": json.loads(marks)}))
    review = read_review(tmp_path / "review.json")
    review.check_fits([picture.record for picture in pictures], "the file")
    (kept,) = review.regions()
    assert (kept.prototype, kept.meaning, kept.by) == (1, "class", "AM")
    assert kept.corners == ((0.5, 0.5), (0.56, 0.5), (0.56, 0.53))
    drawn = [each for each in review.judgements if each["prototype"] == 4]
    assert [each.get("withdrawn", False) for each in drawn] == [False, True]
    assert drawn[0]["meaning"] == "distraction" and drawn[0]["region"][0] == pytest.approx((0.2, 0.2), abs=0.02)


def note_of(browser, number, text=None):
    """The note's text; with ``text`` it is typed before."""
    field = f"document.querySelector('#prototype-{number} .note')"
    if text is not None:
        browser.run(
            f"(() => {{ const field = {field}; field.value = {text!r}; field.dispatchEvent(new Event('change')); }})()"
        )
    return browser.run(f"{field}.value")


def write_initials(browser, text):
    browser.run(
        f"(() => {{ const field = document.querySelector('.initials'); field.value = {text!r};"
        "field.dispatchEvent(new Event('input')); })()"
    )


def test_a_note_stays_until_it_is_sent(report):
    with chromium.Browser() as browser:
        browser.open(report)
        browser.run("document.querySelector('.judge-on').checked || document.querySelector('.judge-on').click()")
        note_of(browser, 2, "a long observation")
        mark(browser, 2, "forget")
        assert "initials" in told(browser) and note_of(browser, 2) == "a long observation"
        write_initials(browser, "R")
        write_initials(browser, "RB")
        assert note_of(browser, 2) == "a long observation"
        mark(browser, 2, "forget")
        assert told(browser) == "1 prototype marked" and note_of(browser, 2) == "a long observation"
        write_initials(browser, "AM")  # somebody else has not said it
        assert note_of(browser, 2) == ""
        write_initials(browser, "RB")
        assert note_of(browser, 2) == "a long observation"


def test_an_outline_stays_where_the_initials_were_taken_away(report):
    with chromium.Browser() as browser:
        browser.open(report)
        browser.run("document.querySelector('.judge-on').checked || document.querySelector('.judge-on').click()")
        write_initials(browser, "RB")
        browser.run("document.querySelector('#prototype-3 .outline-part').click()")
        for key in (" ", "ArrowRight", "ArrowRight", " ", "ArrowDown", " ", "Enter"):
            browser.press(key)
        write_initials(browser, "")
        browser.run("document.querySelector('#prototype-3 .asked button').click()")
        assert "initials" in told(browser)
        write_initials(browser, "RB")
        browser.run("document.querySelector('#prototype-3 .asked button').click()")
        assert browser.run("document.querySelectorAll('#prototype-3 .outlines li').length") == 1
        marks = json.loads(browser.run("JSON.stringify(Object.values(localStorage).find((each) => each[0] === '['))"))
    assert [each["by"] for each in json.loads(marks)] == ["RB"]


def test_marks_of_pictures_whose_names_are_not_utf8_fit_their_run(tmp_path):
    pictures = [scenes.picture(0, source="v\udcf6gel/1.jpg")]
    page = write_report(tmp_path / "report.html", config=scenes.CONFIG, metrics=scenes.METRICS, pictures=pictures)
    with chromium.Browser() as browser:
        browser.open(page)
        browser.run("document.querySelector('.judge-on').click()")
        write_initials(browser, "RB")
        mark(browser, 0, "forget")
        marks = json.loads(browser.run("JSON.stringify(Object.values(localStorage).find((each) => each[0] === '['))"))
    (tmp_path / "review.json").write_text(json.dumps({"judgements": json.loads(marks)}))
    review = read_review(tmp_path / "review.json")
    review.check_fits([pictures[0].record], "the file")
    assert review.numbers("forget") == [0]


def test_on_a_phone_in_the_dark_it_fits(report):
    with chromium.Browser(390, 800, dark=True, phone=True) as phone:
        phone.open(report)
        phone.run("document.querySelector('.judge-on').click()")
        assert phone.run("document.documentElement.scrollWidth") <= 390 and phone.problems == []


def test_a_report_without_prototypes_has_nothing_to_judge(tmp_path):
    page = write_report(tmp_path / "report.html", config=scenes.CONFIG, metrics=scenes.METRICS)
    assert "judge" not in page.read_text(encoding="utf-8")
