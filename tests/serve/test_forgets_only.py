"""A network that can only forget: the page asks for nothing else, and says so where something else was marked."""

import pytest

from protomask.run.review import FILE, add_judgements
from tests.report import chromium

from .conftest import client_of
from .serving import served

CORNERS = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]
FORGET = {"prototype": 0, "by": "RB", "verdict": "forget"}
SPLIT = {"prototype": 1, "by": "RB", "verdict": "split"}
OUTLINE = {"prototype": 2, "by": "RB", "region": CORNERS, "meaning": "evidence"}


@pytest.fixture
def subject(forgetful):
    from protomask.serve.of_run import RunSubject

    yield RunSubject(forgetful)
    (forgetful.folder / FILE).unlink(missing_ok=True)


@pytest.mark.parametrize("others, words", [([SPLIT], "cannot split them"), ([OUTLINE], "withdraw what was outlined")])
def test_what_it_cannot_do_is_told_before_it_begins(subject, others, words):
    with client_of(subject) as client:
        for given in (others, [FORGET]):  # alone, and besides what it can do
            assert client.post("/api/review", json={"judgements": given}).status_code == 200
            assert words in client.get("/api/teach").json()["plan"]["problem"]
            refused = client.post("/api/teach")
            assert refused.status_code == 400 and words in refused.json()["error"]
        assert not client.get("/api/teach").json()["running"]


def test_forgetting_alone_is_planned(subject):
    with client_of(subject) as client:
        answer = client.post("/api/review", json={"judgements": [FORGET]}).json()
        plan = client.get("/api/teach").json()["plan"]
    assert answer["can_replace"] is False and plan["can_replace"] is False
    assert plan["problem"] is None and plan["forget"] == [0]


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
def test_the_page_and_the_report_offer_no_more(subject):
    records = [picture.record for picture in subject.prototypes]
    add_judgements(subject.run.folder, [SPLIT], records)  # before, with marks from elsewhere
    with served(subject) as address, chromium.Browser() as browser:
        browser.open(address)
        assert browser.until("document.body.dataset.ready === 'true'", 120)
        browser.run("localStorage.setItem('protomask-initials', 'RB')")
        browser.run("document.querySelector('[data-view=parts]').click()")
        assert browser.until("document.querySelectorAll('.part .photo').length >= 2", 120)
        assert browser.run("document.querySelectorAll('.part:first-child input[type=radio]').length") == 3
        assert browser.run("[...document.querySelectorAll('.part > button')].every((each) => each.hidden)")
        assert browser.run("document.querySelector('[data-number=\"1\"] .others').textContent.includes('split')")
        browser.run("document.querySelector('[data-view=teach]').click()")
        assert browser.until("!!document.querySelector('.plan .wrong')", 120)
        assert "cannot split" in browser.run("document.querySelector('.plan .wrong').textContent")
        assert browser.run("document.querySelector('#view-teach .main').disabled")
        assert browser.problems == []
        browser.open(subject.run.folder / "report.html")
        browser.run("document.querySelector('.judge-on').click()")
        assert browser.run("document.querySelectorAll('.card:first-child .verdicts input[type=radio]').length") == 3
        assert browser.run("document.querySelectorAll('.outline-part').length") == 0
        assert browser.problems == []
