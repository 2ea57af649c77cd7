"""Pictures whose names are not UTF-8, as old archives leave them."""

import shutil

import pytest

import protomask
from protomask.run.review import FILE, review_of

from .conftest import client_of, explain, photo

ODD = "colour 0/v\udcf6gel 1.png"


@pytest.fixture(scope="module")
def odd(run, tmp_path_factory):
    from protomask.serve.of_run import RunSubject

    folder = tmp_path_factory.mktemp("odd") / "net"
    shutil.copytree(run.folder, folder)
    files = protomask.open_run(folder, progress=False).files
    rows = files.read("prototypes.json")
    files.write("prototypes.json", [{**rows[0], "source": ODD}, *rows[1:]])
    with client_of(RunSubject(protomask.open_run(folder, progress=False))) as client:
        client.folder = folder
        yield client


def test_they_are_shown_and_judged(odd):
    found = odd.get("/api/prototypes/0")
    assert found.status_code == 200 and found.json()["source"] == ODD
    answer, _ = explain(odd, photo(0))
    assert odd.get(f"/api/pictures/{answer['picture']}/panel").status_code == 200
    judged = odd.post("/api/review", json={"judgements": [{"prototype": 0, "by": "RB", "verdict": "forget"}]})
    assert judged.status_code == 200 and review_of(odd.folder).judgements[0]["source"] == ODD
    (odd.folder / FILE).unlink()


def test_marks_that_a_report_saved_are_taken(odd):
    printed = ODD.encode("utf-8", "backslashreplace").decode()
    given = {"prototype": 0, "by": "RB", "verdict": "forget", "source": printed}
    assert odd.post("/api/review", json={"judgements": [given]}).status_code == 200
    assert odd.get("/api/review").json()["prototypes"]["0"]["verdict"] == "forget"
    (odd.folder / FILE).unlink()


def test_a_refusal_that_names_them_is_a_line(odd):
    given = {"prototype": 0, "by": "RB", "verdict": "forget", "source": "elsewhere.png"}
    refused = odd.post("/api/review", json={"judgements": [given]})
    assert refused.status_code == 400 and ODD in refused.json()["error"]
