"""The page in a real Chromium: what its script does, and that it asks nothing of the network."""

import numpy as np
import pytest
import torch

from protomask.report import write_report
from protomask.report.answers import Answers

from . import chromium, scenes

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    shown, images, maps = scenes.inspected(scenes.pictures())
    explanations = [
        scenes.explanation(shown[:3], counter=shown[3:5]),
        scenes.explanation(shown[2:4], name="test/b.jpg", true_class="002.Spotted_bird"),
    ]
    return write_report(
        tmp_path_factory.mktemp("page") / "report.html",
        config=scenes.CONFIG,
        metrics=scenes.METRICS,
        log=scenes.LOG,
        pictures=shown,
        explanations=explanations,
        evaluation=scenes.evaluation(),
        answers=scenes.answers(),
        test_images=images,
        nearest_maps=maps,
        vectors=np.repeat(np.eye(3), 2, 0),
    )


@pytest.fixture(scope="module")
def browser(report):
    with chromium.Browser() as browser:
        browser.open(report)
        yield browser


def change(browser, field: str, value: str) -> None:
    browser.run(
        f"(() => {{ const field = document.querySelector({field!r}); field.value = {value!r};"
        "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def shown(browser) -> list[int]:
    return browser.run(
        "[...document.querySelectorAll('.card:not([hidden]) .number')].map((each) => Number(each.textContent))"
    )


def test_filter_search_and_sort(browser):
    assert shown(browser) == list(range(6))
    change(browser, "#class", "002.Spotted_bird")
    assert shown(browser) == [3, 4, 5]
    assert browser.run("document.querySelector('#count').value") == "3 shown"
    change(browser, "#search", "IMAGE_4")
    assert shown(browser) == [4]
    change(browser, "#search", "no such bird")
    assert shown(browser) == [] and not browser.run("document.querySelector('#none').hidden")
    change(browser, "#search", "")
    change(browser, "#class", "")
    change(browser, "#sort", "weight")
    assert shown(browser) == [5, 4, 3, 2, 1, 0]
    change(browser, "#sort", "-purity")
    assert shown(browser) == [5, 4, 3, 2, 1, 0]
    change(browser, "#sort", "outside")
    assert shown(browser)[0] == 2
    change(browser, "#sort", "purity")
    change(browser, "#flags", "none")
    assert shown(browser) == [0, 1, 3, 5]
    change(browser, "#flags", "duplicate")
    assert shown(browser) == [4]
    change(browser, "#flags", "")
    change(browser, "#sort", "")
    assert shown(browser) == list(range(6))


def test_letters_are_found_however_they_are_composed(tmp_path):
    name, image = "u\u0308ber_Vogel", "E\u0301te\u0301/1.jpg"  # as a Mac names files
    answers = Answers([name, "other"], [image], torch.eye(2)[:1], torch.tensor([0]))
    shown = [scenes.picture(0, name, image), scenes.picture(1, "\u00fcbrig")]
    page = write_report(tmp_path / "report.html", config=scenes.CONFIG, pictures=shown, answers=answers)
    with chromium.Browser() as browser:
        browser.open(page)
        for text, cards in [("\u00fcber", 1), ("u\u0308b", 2), ("\u00c9T\u00c9", 1), ("\uff11.jpg", 2), ("ub", 0)]:
            change(browser, "#search", text)
            assert browser.run("document.querySelector('#count').value") == f"{cards} shown", text
        for text, found in [("\u00dcBER", 1), ("\u00e9t\u00e9", 1), ("e\u0301te\u0301", 1), ("ub", 0)]:
            change(browser, "#answer-search", text)
            assert browser.run("document.querySelector('#answer-count').value") == f"{found} found", text


def test_answers_by_confidence_filtered_and_searched(browser):
    rows = "[...document.querySelectorAll('.answers tbody tr')].map((each) => each.lastChild.textContent)"
    assert browser.run(rows) == ["test/wrong.jpg"]  # where the expert looks first
    assert browser.run("document.querySelector('.answers .said').textContent") == "✗\N{NO-BREAK SPACE}Spotted bird"
    change(browser, "#answer-which", "")
    assert browser.run(rows) == ["test/right.jpg", "test/other.jpg", "test/wrong.jpg"]
    assert browser.run("document.querySelector('#answer-count').value") == "3 found"
    change(browser, "#answer-sort", "up")
    assert browser.run(rows) == ["test/wrong.jpg", "test/other.jpg", "test/right.jpg"]
    change(browser, "#answer-search", "striped right")
    assert browser.run(rows) == ["test/right.jpg"]
    change(browser, "#answer-search", "")
    change(browser, "#answer-which", "1")
    change(browser, "#answer-sort", "margin")
    assert browser.run(rows) == ["test/other.jpg", "test/right.jpg"]
    assert browser.run("document.querySelector('#answer-more').hidden")


def test_a_table_is_sorted_by_its_heads(browser):
    names = "[...document.querySelectorAll('.sortable tbody th')].map((each) => each.textContent)"
    press = "document.querySelector('.sortable th[data-key={}] button').click()"
    browser.run(press.format("recall"))
    assert browser.run(names) == ["Spotted bird", "Striped bird"]  # 100 %, then 50 %
    assert browser.run("document.querySelector('.sortable th[data-key=recall]').ariaSort") == "descending"
    browser.run(press.format("recall"))
    assert browser.run(names) == ["Striped bird", "Spotted bird"]
    browser.run(press.format("name"))
    assert browser.run(names) == ["Spotted bird", "Striped bird"]
    assert browser.run("document.querySelectorAll('.sortable th[aria-sort]').length") == 1


def test_the_link_to_the_figures_opens_them(browser):
    opened = "document.querySelector('.figures-behind').open"
    assert not browser.run(opened)
    browser.run("document.querySelector('.trust a').click()")
    assert browser.run(opened)


def test_a_link_shows_a_prototype_that_the_filter_hides(browser):
    change(browser, "#class", "002.Spotted_bird")
    browser.run("document.querySelector('.points a[href=\"#prototype-0\"]').click()")
    assert browser.until("document.querySelectorAll('.card:not([hidden])').length === 6")


def test_the_map_leads_to_the_cards_and_follows_the_filter(browser):
    bright = (
        "[...document.querySelectorAll('.neighbour-map a:not(.dim)')].map((each) => Number(each.dataset.of)).sort()"
    )
    assert browser.run(bright) == list(range(6))
    boxes = "[...document.querySelectorAll('.neighbour-map a')].map((each) => each.getBoundingClientRect())"
    assert len(set(browser.run(boxes + ".map((box) => `${box.x} ${box.y}`)"))) == 6  # none hides another
    assert min(browser.run(boxes + ".map((box) => Math.min(box.width, box.height))")) >= 24
    change(browser, "#class", "002.Spotted_bird")
    assert browser.run(bright) == [3, 4, 5]
    browser.run("document.querySelector('.neighbour-map a[data-of=\"1\"]').click()")
    assert browser.until("location.hash === '#prototype-1' && !document.querySelector('#prototype-1').hidden")
    assert browser.run(bright) == list(range(6))


def test_switching_the_localizer_and_the_slider(browser):
    def visible(selector):
        return browser.run(f"getComputedStyle(document.querySelector('.card {selector}')).display !== 'none'")

    assert visible("g.l0") and visible("img.l0") and not visible("g.l1") and not visible("img.l1")
    browser.run("document.querySelector('input[name=localizer][value=\"1\"]').click()")
    assert visible("g.l1") and visible("img.l1") and not visible("g.l0") and not visible("img.l0")
    assert browser.run("getComputedStyle(document.querySelector('.card img.l1')).opacity") == "0"
    change(browser, "#blend", "60")
    assert browser.run("getComputedStyle(document.querySelector('.card img.l1')).opacity") == "0.6"
    browser.run("document.querySelector('input[name=localizer][value=all]').click()")
    assert visible("g.l0") and visible("g.l1") and not visible("img.l1")
    assert not visible(".l0 .box")
    browser.run("document.querySelector('[data-mark=box]').click()")
    assert visible(".l0 .box")
    browser.run("document.querySelector('input[name=localizer][value=\"0\"]').click()")


def test_a_prototype_opens_large_by_keyboard(browser):
    title = "document.querySelector('#enlarged-title').textContent"
    browser.run("document.querySelector('#prototype-2 .open').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('#enlarged').open") and browser.run(title) == "Prototype 2, Striped bird"
    figures = browser.run("document.querySelectorAll('.views figure').length")
    assert figures == 6  # two localizers: outline, map, crop
    near = "[...document.querySelectorAll('.near figure')].map((each) => each.textContent)"
    assert browser.run(near) == ["✓ Bird, 0.90", "✗ Bird, 0.80"]
    assert browser.until("[...document.querySelectorAll('.near img')].every((each) => each.naturalWidth === 64)")
    assert browser.run("document.querySelector('.near .outline').getBBox().width") > 10
    browser.press("ArrowRight")
    assert browser.run(title) == "Prototype 3, Spotted bird"
    browser.press("Escape")
    assert browser.until("!document.querySelector('#enlarged').open")
    assert browser.until("document.activeElement.getAttribute('aria-label') === 'Enlarge prototype 3, Spotted bird'")


def test_right_and_wrong_images_can_be_chosen(browser):
    count = "document.querySelectorAll('.panel:not([hidden])').length"
    change(browser, "#which", "wrong")
    assert browser.run(count) == 1
    change(browser, "#which", "")
    assert browser.run(count) == 2


def test_nothing_is_requested_and_the_console_is_clean(browser, report):
    assert {each for each in browser.requests if not each.startswith("data:")} == {report.resolve().as_uri()}
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_wider_than_the_screen(report, dark):
    with chromium.Browser(390, 800, dark=dark, phone=True) as phone:
        phone.open(report)
        assert phone.run("document.documentElement.scrollWidth") <= 390
        assert phone.run("document.querySelector('.neighbour-map').getBoundingClientRect().right") <= 390
        light, ink = phone.run(
            "['backgroundColor', 'color'].map((key) => Number(getComputedStyle(document.body)[key].match(/\\d+/)[0]))"
        )
        assert (light < ink) == dark
        assert phone.problems == []


def test_long_names_without_a_blank_break_and_leave_room_for_the_numbers(report, tmp_path):
    long = tmp_path / "long.html"
    page = report.read_text(encoding="utf-8")
    long.write_text(page.replace("Spotted bird", "Spotted" + "x" * 90), encoding="utf-8")
    for width in (1280, 390):
        with chromium.Browser(width, 800, phone=width < 600) as browser:
            browser.open(long)
            assert len(browser.run("[...document.body.innerText.matchAll(/x{90}/g)].map(String)")) > 5
            assert browser.run("document.documentElement.scrollWidth") <= width
            name, whole = browser.run(
                "['.sortable tbody th', '.scroll:has(.sortable)']"
                ".map((each) => document.querySelector(each).clientWidth)"
            )
            assert name < 0.6 * whole
