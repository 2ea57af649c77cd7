"""The table, contact sheet and page of ``localize``."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from protomask.evaluation.tables import as_csv
from protomask.localization import overview
from protomask.localization.overview import COLUMNS, contact_sheet, render_page, table_rows, write_overview
from tests.report import chromium

EVIL = '=1+1"><script>alert(1)</script>'


def picture(name: str, *classes: tuple[str, float], folder: str | None = None) -> dict:
    return {
        "image": f"/photos/{name}",
        "folder": folder or name.split(".")[0],
        "width": 60,
        "height": 40,
        "classes": [
            {
                "index": place,
                "name": kind,
                "probability": probability,
                "maps": {
                    "mdm": {"map": f"{place}-mdm.npy", "overlay": f"{place}-mdm.png", "box": [1, 2, 30, 20]},
                    "center": {"map": f"{place}-center.npy", "overlay": f"{place}-center.png", "box": None},
                },
            }
            for place, (kind, probability) in enumerate(classes)
        ],
    }


@pytest.fixture
def pictures(tmp_path):
    found = [
        picture("eins zwei.jpg", ("Wörter 鳥", 0.25), (EVIL, 0.125)),
        picture("b#%.png", ("Amsel", 0.875), folder="b#%"),
    ]
    for each in found:
        for row in each["classes"]:
            for files in row["maps"].values():
                path = tmp_path / each["folder"] / files["overlay"]
                path.parent.mkdir(exist_ok=True)
                Image.new("RGB", (600, 400), "teal").save(path)
    return found


def test_the_table_has_a_row_for_every_picture_class_and_localizer(pictures):
    rows = list(csv.DictReader(io.StringIO(as_csv(table_rows(pictures), COLUMNS))))
    assert len(rows) == 6 and list(rows[0]) == list(COLUMNS)
    first, last = rows[0], rows[-1]
    assert (first["image"], first["name"], first["probability"]) == ("/photos/eins zwei.jpg", "Wörter 鳥", "0.25")
    assert [first[key] for key in ("x0", "y0", "x1", "y1", "width", "height")] == ["1", "2", "30", "20", "60", "40"]
    assert first["overlay"] == "eins zwei/0-mdm.png" and first["map"] == "eins zwei/0-mdm.npy"
    assert rows[2]["name"] == f"'{EVIL}"  # a spreadsheet must not calculate it
    assert last["localizer"] == "center" and last["x0"] == ""


def test_the_page_holds_its_thumbnails_and_is_harmless(pictures, tmp_path):
    write_overview(tmp_path, pictures)
    text = (tmp_path / "localize.html").read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") == 6 and text.count("<script>") == 1 and "&lt;script&gt;" in text
    assert 'href="b%23%25/0-mdm.png"' in text and 'data-probability="0.875"' in text and "87.5" in text
    assert not re.search(r"https?:|//www|@import|url\(", text)
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 500 and (np.asarray(sheet.convert("RGB")) == (0, 128, 128)).all(2).mean() > 0.2
    assert not list(tmp_path.glob(".*")) and (tmp_path / "localize.csv").read_text(encoding="utf-8").count("\n") == 7


def test_a_long_list_is_linked_and_its_sheet_says_what_it_shows(pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(overview, "WITH_THUMBNAIL", 2)
    write_overview(tmp_path, pictures)
    text = (tmp_path / "localize.html").read_text(encoding="utf-8")
    assert text.count("data:image/webp") == 2 and text.count(">overlay</a>") == 4
    rows = table_rows(pictures)
    sheet = contact_sheet(rows[:2], [np.zeros((4, 6, 3), np.uint8)] * 2, len(rows))
    found = [each.get_text() for each in sheet.texts]
    assert "the first 2 of 6" in found and "eins zwei.jpg · Centre" in found
    assert any(each.endswith("25\N{NO-BREAK SPACE}%") for each in found)


def test_without_pictures_there_is_no_sheet(tmp_path):
    write_overview(tmp_path, [])
    assert (tmp_path / "localize.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert not (tmp_path / "contact-sheet.png").exists() and "0 pictures" in render_page([], [])


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_the_page_is_sorted_and_searched(pictures, tmp_path):
    write_overview(tmp_path, pictures)
    names = "[...document.querySelectorAll('li:not([hidden])')].map((each) => each.dataset.probability)"
    with chromium.Browser(390, 800, phone=True) as browser:
        browser.open(tmp_path / "localize.html")

        def change(field, value):
            browser.run(
                f"(() => {{ const field = document.querySelector('#{field}'); field.value = '{value}';"
                "field.dispatchEvent(new Event('input')); })()"
            )

        assert browser.run(names) == ["0.25", "0.25", "0.125", "0.125", "0.875", "0.875"]
        change("sort", "probability")
        assert browser.run(names) == ["0.875", "0.875", "0.25", "0.25", "0.125", "0.125"]
        change("sort", "-probability")
        change("search", "amsel centre")
        assert browser.run(names) == ["0.875"] and browser.run("document.querySelector('#count').value") == "1 shown"
        change("search", "WO\u0308RTER centre")  # composed of two signs, as it is not in the name
        assert browser.run(names) == ["0.25"]
        change("search", "")
        change("sort", "file")
        assert browser.run(names)[0] == "0.875"
        assert browser.run("document.documentElement.scrollWidth") <= 390 and browser.problems == []


def test_no_caption_is_certain():
    row = {"index": 0, "probability": 0.996}
    assert overview.caption(row) == "class 0 > 99\N{NO-BREAK SPACE}%"
    assert overview.caption({**row, "probability": 0.5}) == "class 0 50\N{NO-BREAK SPACE}%"
