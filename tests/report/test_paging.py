"""Galleries of very many prototypes are pages beside the report."""

import re
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest

from protomask.report import paging, write_report
from protomask.report.neighbourhoods import neighbourhoods
from protomask.report.paging import gallery_pages
from protomask.run.results import Report

from . import chromium, scenes
from .test_html import Page

CLASSES = tuple(f"{number:03d}.Bird {number}" for number in range(6))


def write(folder, classes=CLASSES):
    shown, images, maps = scenes.inspected(scenes.pictures(classes, each=2))
    return write_report(
        folder / "a report.html",
        config=scenes.CONFIG,
        pictures=shown,
        explanations=[scenes.explanation(shown[3:6], counter=shown[7:9])],
        test_images=images,
        nearest_maps=maps,
        vectors=np.eye(len(shown)),
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report whose gallery is divided: file -> text."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "MOST", 14_000)
        path = write(folder)
    assert re.fullmatch(r"report .*a report.html \(.* MB\), and \d pages of prototypes beside it", Report(path).text())
    return {each.name: each.read_text(encoding="utf-8") for each in sorted(folder.iterdir())}


def test_every_prototype_is_on_one_page_with_its_class(pages):
    assert "a report.html" in pages and len(pages) > 2
    pattern = re.compile(r'class="card" id="prototype-(\d+)" data-class="(.+?)"')
    held = {name: pattern.findall(text) for name, text in pages.items()}
    assert held.pop("a report.html") == []
    assert sorted(int(number) for found in held.values() for number, _ in found) == list(range(12))
    for name in CLASSES:
        assert len([page for page, found in held.items() if name in {own for _, own in found}]) == 1
    for text in pages.values():
        assert "http://" not in text and "https://" not in text and "default-src 'none'" in text


def test_every_link_leads_somewhere(pages):
    parsed = {name: Page(text) for name, text in pages.items()}
    ids = {name: {each["id"] for _, each in page.tags if "id" in each} for name, page in parsed.items()}
    links = [(name, each["href"]) for name, page in parsed.items() for each in page.all("a") if "href" in each]
    assert len(links) > 40
    for name, href in links:
        file, anchor = urldefrag(href)
        target = unquote(file) or name
        assert target in pages, href
        assert not anchor or anchor in ids[target], (name, href)
    words = parsed["a report.html"].words
    assert f"12 of them, on {len(pages) - 1} pages beside this one" in words


def test_neighbours_are_those_of_the_page(pages):
    for name, text in pages.items():
        of, cards = (set(re.findall(pattern, text)) for pattern in (r'"(\d+)": \[\{"class"', r'id="prototype-(\d+)"'))
        assert of == cards and bool(of) == (name != "a report.html")


def test_a_smaller_gallery_leaves_no_older_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 14_000)
    write(tmp_path)
    many = len(list(tmp_path.iterdir()))
    write(tmp_path, CLASSES[:4])
    assert 2 < len(list(tmp_path.iterdir())) < many
    monkeypatch.setattr(paging, "MOST", 10**9)
    write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a report.html"]


def card(number, name, size):
    return {"number": number, "class_id": name, "picture": {"photo": "x" * size, "layers": []}}


def test_pages_are_about_equal_and_classes_stay_whole():
    cards = [card(number, f"class {number // 5}", 10) for number in range(100)]
    assert gallery_pages(cards, {}, 1000) == [list(range(100))]
    found = gallery_pages(cards, {}, 450)
    assert [len(page) for page in found] == [35, 35, 30] and sum(found, []) == list(range(100))
    huge = [card(number, "one", 10) for number in range(10)]
    assert [len(page) for page in gallery_pages(huge, {}, 40)] == [4, 4, 2]
    near = {"images": {7: {"photo": "y" * 30}}, "of": {number: [{"image": 7}] for number in range(10)}}
    assert [len(page) for page in gallery_pages(huge, near, 100)] == [2] * 5


def test_most_alike_of_different_classes_are_those_of_a_plain_search():
    vectors = np.random.default_rng(0).normal(size=(12, 4))
    shown = scenes.pictures(CLASSES, each=2)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = [(one, other) for one in range(12) for other in range(one + 1, 12) if one // 2 != other // 2]
    pairs = sorted(((units[one] @ units[other], one, other) for one, other in apart), reverse=True)
    expected, used = [], set()
    for _, one, other in pairs:
        if not used & {one, other} and len(expected) < 5:
            expected.append([one, other])
            used |= {one, other}
    found = neighbourhoods(shown, vectors, "mdm")["alike"]
    assert [[each["number"] for each in row["pair"]] for row in found] == expected


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_a_page_works_in_a_browser(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 14_000)
    report = write(tmp_path)
    with chromium.Browser() as browser:
        browser.open(report.with_name("a report-prototypes-2.html"))
        cards = browser.run("document.querySelectorAll('.card:not([hidden])').length")
        assert cards and browser.run("document.querySelector('#count').value") == f"{cards} shown"
        browser.run("document.querySelector('.card .open').click()")
        assert (
            browser.run("document.querySelector('#enlarged').open && document.querySelectorAll('.near figure').length")
            == 2
        )
        browser.open(report)
        assert browser.run("document.querySelectorAll('.pages a').length") > 2
        assert browser.run("document.querySelectorAll('.neighbour-map a').length") == 12


def search(browser, text):
    browser.run(
        f"(() => {{ const field = document.querySelector('#search'); field.value = {text!r};"
        "field.dispatchEvent(new Event('input')); })()"
    )


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_a_page_leads_to_what_is_on_another(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 14_000)
    report = write(tmp_path)
    with chromium.Browser() as browser:
        browser.open(paging.page_path(report, 1))
        here = browser.run("document.querySelectorAll('.card').length")
        options = browser.run("[...document.querySelector('#class').options].map((each) => each.text)")
        assert options == [f"all on this page ({here} of 12)", *(f"Bird {number} (2)" for number in range(6))]
        assert browser.run("document.querySelector('label:has(#flags)').textContent").startswith("Flags on this page")
        none, elsewhere = (f"document.querySelector('#{name}')" for name in ("none", "elsewhere"))
        assert browser.run(f"{none}.hidden && {elsewhere}.hidden")
        search(browser, "bird 5")
        assert browser.run(f"!{none}.hidden && {none}.innerText").startswith(
            f"Nothing on this page fits; it has {here} of 12 prototypes. Pages 2, 3"
        )
        last = len(list(tmp_path.iterdir())) - 1
        assert browser.run(f"{elsewhere}.innerText") == f"On other pages: Bird 5 (page {last})"
        search(browser, "bird")  # fits here, too
        assert browser.run(f"{none}.hidden && !{elsewhere}.hidden")
        search(browser, "")
        assert browser.run(f"{none}.hidden && {elsewhere}.hidden")
        browser.run(
            "(() => { const field = document.querySelector('#class'); field.selectedIndex = field.options.length - 1;"
            "field.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run(f"{elsewhere}.innerText") == f"On other pages: Bird 5 (page {last})"
        assert browser.run("document.querySelectorAll('.card:not([hidden])').length") == 0
        browser.run(f"{elsewhere}.querySelector('a').click()")
        assert browser.until(
            f"location.pathname.endsWith('-{last}.html') && location.hash === '#prototype-10'"
            " && document.querySelector('#prototype-10:not([hidden])') !== null"
        )
        assert browser.problems == []
