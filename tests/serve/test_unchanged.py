"""A run that is made anew in the same folder while its page is open."""

import shutil

import numpy as np
import pytest
from PIL import Image

import protomask
from protomask.explanations.belonging import PROTOTYPES
from protomask.explanations.files import CHECKSUMS
from protomask.run.review import FILE
from protomask.run_folder import RunFolder
from protomask.serve.of_run import RunSubject

from .conftest import client_of, explain, photo

MARK = {"judgements": [{"prototype": 0, "by": "RB", "verdict": "forget"}]}


@pytest.fixture
def page(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "net")
    subject = RunSubject(protomask.open_run(tmp_path / "net", progress=False), "similarity")
    with client_of(subject) as client:
        client.files = RunFolder(tmp_path / "net")
        yield client


def sources(files):
    rows = files.read("prototypes.json")
    places = [*range(1, len(rows)), 0]
    files.write("prototypes.json", [{**row, "source": rows[place]["source"]} for row, place in zip(rows, places)])


def classes(files):
    rows = files.read("prototypes.json")
    files.write("prototypes.json", [{**row, "class_name": rows[-1]["class_name"]} for row in rows])


def fewer(files):
    files.write("prototypes.json", files.read("prototypes.json")[:-1])


def digest(files):
    files.write(CHECKSUMS, {**files.read(CHECKSUMS), PROTOTYPES: "0" * 16})


def pictures(files):
    (files / "prototypes.json").unlink()


@pytest.mark.parametrize("change", [sources, classes, fewer, digest, pictures])
def test_other_prototypes_are_neither_shown_nor_judged(page, change):
    picture = explain(page, photo(0))[0]["picture"]
    asked = ["/api/prototypes/0", f"/api/pictures/{picture}/panel", "/api/review"]
    assert [page.get(each).status_code for each in asked] == [200] * 3
    change(page.files)
    before = {path: path.read_bytes() for path in page.files.folder.rglob("*") if path.is_file()}
    answers = [*map(page.get, asked), page.post("/api/review", json=MARK), page.post("/api/teach")]
    for answer in answers:
        assert answer.status_code == 400 and "start protomask serve again" in answer.json()["error"]
    assert {path: path.read_bytes() for path in page.files.folder.rglob("*") if path.is_file()} == before


def test_what_has_taken_effect_is_answered_while_the_pictures_are_made_again(page):
    rows = page.files.read("prototypes.json")
    assert page.get("/api/teach").json()["plan"]["problem"] is None
    pictures(page.files)
    answers = [page.get("/api/teach"), page.post("/api/teach/stop"), page.post("/api/versions/0/serve")]
    assert [answer.status_code for answer in answers] == [200] * 3
    for told in (answer.json() for answer in answers):
        assert "wait until protomask project, or the training, is done there" in told["plan"]["problem"]
        assert told["served"] == 0 and [each["name"] for each in told["versions"]] == ["net"] and not told["running"]
    refused = page.post("/api/teach")
    assert refused.status_code == 400 and refused.json()["error"] == told["plan"]["problem"]
    page.files.write("prototypes.json", rows)
    assert page.get("/api/teach").json()["plan"]["problem"] is None
    assert page.get("/api/prototypes/0").status_code == 200, "of the same prototypes: the page goes on by itself"


def test_what_is_replaced_while_it_is_read_is_not_shown(page, monkeypatch):
    from protomask.serve import of_run

    page.files.write("prototypes.json", page.files.read("prototypes.json"))

    class Replaced:
        def __init__(self, picture):
            self.record, self.inspection, self.maps = picture.record, picture.inspection, picture.maps
            self.nothing_to_keep = False

        @property
        def image(self):
            sources(page.files)
            return np.zeros((8, 8, 3), np.uint8)

    served = page.app.state.service.subject
    assert isinstance(served, of_run.RunSubject)
    monkeypatch.setattr(served, "prototypes", [Replaced(each) for each in served.prototypes])
    refused = page.get("/api/prototypes/0")
    assert refused.status_code == 400 and "made anew" in refused.json()["error"]


def test_pictures_that_are_made_again_of_the_same_prototypes_disturb_nobody(page):
    rows = page.files.read("prototypes.json")
    page.files.write("prototypes.json", [{**row, "weight": row["weight"] + 1} for row in rows])
    page.files.write(CHECKSUMS, {name: each for name, each in page.files.read(CHECKSUMS).items() if name != PROTOTYPES})
    assert page.get("/api/prototypes/0").status_code == 200
    assert page.post("/api/review", json=MARK).json()["judgements"] == 1
    assert (page.files / FILE).is_file()


def test_a_link_that_is_turned_to_another_run_shows_nothing_of_that_one(run, tmp_path):
    for name in ("one", "other"):
        shutil.copytree(run.folder, tmp_path / name)
    for path in (tmp_path / "other" / "prototypes").glob("0*.png"):
        Image.new("RGB", Image.open(path).size, (0, 255, 0)).save(path)
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "one")
    with client_of(RunSubject(protomask.open_run(link, progress=False))) as client:
        link.unlink()
        link.symlink_to(tmp_path / "other")
        turned = client.get("/api/prototypes/0").json()
        assert client.get("/api/about").json()["title"] == "one"
    with client_of(RunSubject(protomask.open_run(tmp_path / "one", progress=False))) as client:
        assert client.get("/api/prototypes/0").json() == turned
