"""Judging in the static report, in a real Chromium: marks become a file that refining reads."""

import functools
import http.server
import json
import shutil
import threading
import time

import numpy as np
import pytest

from protomask.report import paging, write_report
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


def saved(browser, page, folder):
    """Press the button that saves the marks of ``page``, which may be a frame; the file."""
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.run("document.querySelector('.save-marks').click()")
    file = folder / "review.json"
    deadline = time.monotonic() + 60
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    return file


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
        file = saved(browser, browser, tmp_path)
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def two_tabs(pictures, tmp_path):
    """The address of a page that shows one report twice: by files, neither frame could be asked."""
    write_report(tmp_path / "report.html", config=scenes.CONFIG, metrics=scenes.METRICS, pictures=pictures)
    frames = "".join(f"<iframe name={name} src=report.html width=500 height=700></iframe>" for name in "ab")
    (tmp_path / "two.html").write_text(f"<!doctype html>{frames}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Tab:
    """One of the frames, asked like a browser."""

    def __init__(self, browser, name):
        self.browser, self.name = browser, name
        self.run("document.querySelector('.judge-on').click()")
        write_initials(self, "RB")

    def run(self, script):
        return self.browser.run(self._inside(script))

    def until(self, script):
        return self.browser.until(self._inside(script))

    def _inside(self, script):
        return f"((window, document) => ({script}))({self.name}, {self.name}.document)"


KEPT = "JSON.parse(Object.values(localStorage).find((each) => each[0] === '['))"


def test_two_tabs_of_a_report_keep_each_others_marks(two_tabs, tmp_path):
    with chromium.Browser() as browser:
        browser.open(f"{two_tabs}two.html")
        one, other = Tab(browser, "a"), Tab(browser, "b")
        note_of(other, 3, "not sent yet")
        other.run("document.querySelector('#prototype-4 .outline-part').click()")
        other.run(
            "[' ', 'ArrowRight', ' ', 'ArrowDown', ' ', 'Enter'].forEach((key) =>"
            "document.querySelector('.outlining').dispatchEvent(new KeyboardEvent('keydown', { key })))"
        )
        mark(one, 1, "forget")
        mark(one, 4, "keep")
        assert other.until("document.querySelector('#prototype-4').dataset.verdict === 'keep'")
        assert told(other) == "2 prototypes marked" and note_of(other, 3) == "not sent yet"
        assert other.run("document.querySelectorAll('#prototype-4 .drawn polygon').length") == 1  # still being drawn
        other.run("document.querySelector('#prototype-4 .asked button').click()")
        mark(other, 3, "forget")
        mark(other, 1, "keep")
        assert one.until("document.querySelector('#prototype-1').dataset.verdict === 'keep'")
        assert one.until("document.querySelectorAll('#prototype-4 .outlines button').length === 1")
        one.run("document.querySelector('#prototype-4 .outlines button').click()")  # withdrawn where it was not drawn
        assert other.until("document.querySelectorAll('#prototype-4 .outlines li').length === 0")
        # A page that hears of nothing, as one that the browser puts aside, neither loses nor lacks anything.
        one.run("window.addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
        mark(other, 5, "doubtful")
        mark(one, 2, "forget")
        assert told(one) == "5 prototypes marked"
        mark(other, 0, "keep")
        kept = json.loads(browser.run(f"JSON.stringify({KEPT})"))
        file = saved(browser, one, tmp_path)
        browser.open(f"{two_tabs}report.html")
        assert told(browser) == "6 prototypes marked"
    review = read_review(file)
    assert len(kept) == len(review.judgements) == 9
    assert {number: each.verdict for number, each in review.standing().items()} == {
        0: "keep",
        1: "keep",
        2: "forget",
        3: "forget",
        4: "keep",
        5: "doubtful",
    }
    assert review.regions() == []


def begin(browser):
    browser.run("document.querySelector('.judge-on').checked || document.querySelector('.judge-on').click()")
    write_initials(browser, "RB")


def write(folder, pictures, seed=0):
    """The report of a run whose prototypes' vectors are of ``seed``."""
    folder.mkdir(exist_ok=True)
    vectors = np.random.default_rng(seed).normal(size=(len(pictures), 4))
    return write_report(folder / "report.html", config=scenes.CONFIG, pictures=pictures, vectors=vectors)


def test_marks_stay_with_a_run_that_is_moved_and_leave_one_that_is_trained_anew(pictures, tmp_path):
    report = write(tmp_path / "runs", pictures)
    (tmp_path / "elsewhere").mkdir()
    with chromium.Browser() as browser:
        browser.open(report)
        begin(browser)
        mark(browser, 3, "forget")
        moved = shutil.move(report, tmp_path / "elsewhere" / "mine.html")
        browser.open(moved)
        assert told(browser) == "1 prototype marked"
        assert browser.run("document.querySelector('#prototype-3').dataset.verdict") == "forget"
        browser.open(write(tmp_path / "runs", pictures, seed=1))  # the same sources, in the same place
        assert told(browser) == ""
        browser.open(write(tmp_path / "runs", pictures))
        assert told(browser) == "1 prototype marked"


def test_marks_that_a_browser_cannot_keep_are_asked_to_be_saved(report, tmp_path):
    leaves = "window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    with chromium.Browser() as browser:
        browser.open(report)
        begin(browser)
        mark(browser, 1, "forget")
        assert told(browser) == "1 prototype marked" and browser.run(leaves)
        browser.run("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
        mark(browser, 2, "keep")
        assert told(browser) == (
            "2 prototypes marked. This browser cannot keep marks: save them as a file before you close the page."
        )
        assert not browser.run(leaves)
        file = saved(browser, browser, tmp_path)
        assert browser.run(leaves)
        mark(browser, 3, "keep")
        assert not browser.run(leaves) and browser.problems == []
    assert read_review(file).numbers("keep") == [2] and read_review(file).numbers("forget") == [1]


def test_marks_that_a_report_of_before_kept_are_taken_over(pictures, tmp_path):
    report = write(tmp_path / "run", pictures)
    folder = report.parent.resolve().as_uri().removeprefix("file://")

    def older(folder, page, *numbers, source="{}", id="a"):
        """As a page that shows some prototypes kept the mark of the first."""
        sources = {number: source.format(pictures[number].record.source) for number in numbers}
        judged = {"id": id, "at": "2025-01-02T03:04:05.678Z", "by": "RB", "verdict": "forget"}
        judged |= {"prototype": numbers[0], "source": sources[numbers[0]]}
        cards = "|".join(f"{number}:{name}" for number, name in sources.items())
        return f"protomask-marks {folder}/{page} {cards}", json.dumps([judged])

    mine = [
        older(folder, "report.html", *range(6), id="a"),
        older(folder, "report-prototypes-2.html", 2, 3, id="b"),
    ]
    others = [
        older(folder, "report.html", 4, 5, source="{} of a run before", id="c"),
        older("/another", "report.html", 5, id="d"),
    ]
    with chromium.Browser() as browser:
        browser.open(report)
        for key, value in [*mine, *others]:
            browser.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})")
        browser.open(report)
        assert told(browser) == "2 prototypes marked"
        write_initials(browser, "RB")
        marked = "[...document.querySelectorAll('.card[data-verdict=forget] .number')].map((each) => each.textContent)"
        assert browser.run(marked) == ["0", "2"]
        kept = browser.run("Object.keys(localStorage).filter((key) => key.startsWith('protomask-marks /')).sort()")
        assert kept == sorted(key for key, _ in others)
        browser.open(report)
        assert told(browser) == "2 prototypes marked" and browser.problems == []


def test_marks_stay_when_a_gallery_is_divided_anew_and_any_page_saves_all(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 9_000)
    report = write(tmp_path, pictures)
    first, second = (paging.page_path(report, number) for number in (1, 2))
    with chromium.Browser() as browser:
        browser.open(first)
        begin(browser)
        mark(browser, 0, "forget")
        mark(browser, 1, "keep")
        browser.open(second)
        assert told(browser) == "2 prototypes marked, 0 of them on this page"
        mark(browser, 5, "keep")
        assert told(browser) == "3 prototypes marked, 1 of them on this page"
        file = saved(browser, browser, tmp_path)
        monkeypatch.setattr(paging, "MOST", 3_000)
        write(tmp_path, pictures)
        browser.open(first)
        assert browser.run("document.querySelector('#prototype-0').dataset.verdict") == "forget"
        assert told(browser) == "3 prototypes marked, 1 of them on this page"
        monkeypatch.setattr(paging, "MOST", 10**9)
        browser.open(write(tmp_path, pictures))
        assert told(browser) == "3 prototypes marked"
    review = read_review(file)
    review.check_fits([picture.record for picture in pictures], "the file")
    assert review.numbers("keep") == [1, 5] and review.numbers("forget") == [0]


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
