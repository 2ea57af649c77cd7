"""Refining over the page's addresses: in the background, once, stoppable, compared, and then in use."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import protomask
from protomask.errors import InputError
from protomask.report.accuracies import difference
from protomask.run.refined import changed_picture, in_words
from protomask.run.review import FILE, review_of
from protomask.run_folder import RunFolder
from protomask.serve.versions import Versions, verdict
from protomask.training.patches import source_of
from tests.training.test_given_parts import elsewhere, outline

from .conftest import client_of, explain, photo


@pytest.fixture(scope="module")
def teacher(run, tmp_path_factory):
    """A page of a copy of the run, with one prototype to forget and one to keep."""
    from protomask.serve.of_run import RunSubject

    folder = tmp_path_factory.mktemp("taught") / "net"
    shutil.copytree(run.folder, folder)
    with client_of(RunSubject(protomask.open_run(folder, progress=False))) as client:
        client.folder = folder
        yield client


def judge(client, *verdicts):
    given = [{"prototype": number, "by": "RB", "verdict": verdict} for number, verdict in verdicts]
    assert client.post("/api/review", json={"judgements": given}).status_code == 200


def follow(client):
    return [json.loads(line) for line in client.get("/api/teach/events").text.splitlines()]


@pytest.fixture(scope="module")
def taught(teacher):
    nothing = teacher.post("/api/teach")
    assert nothing.status_code == 400 and "marked to be changed" in nothing.json()["error"]
    judge(teacher, (1, "forget"), (2, "keep"))
    before = {path: path.read_bytes() for path in sorted(teacher.folder.rglob("*")) if path.is_file()}
    begun = teacher.post("/api/teach")
    assert begun.status_code == 200 and begun.json()["running"]
    second = teacher.post("/api/teach")
    assert second.status_code == 409 and "already" in second.json()["error"]
    told = follow(teacher)
    assert {path: path.read_bytes() for path in before} == before  # the old run is never touched
    return told


def test_it_tells_how_far_it_is_and_what_it_made(teacher, taught):
    shares = [each["share"] for each in taught]
    assert shares == sorted(shares) and len(set(shares)) > 4
    assert not taught[-1]["running"] and taught[-1]["error"] is None
    state = teacher.get("/api/teach").json()
    assert [each["name"] for each in state["versions"]] == ["net", "net-refined"]
    assert (state["served"], state["made"]) == (0, 1) and state["versions"][1]["made_from"] == 0
    assert review_of(teacher.folder.parent / "net-refined").numbers("keep") == [2]


def test_the_comparison_says_what_the_files_say(teacher, taught):
    found = teacher.get("/api/versions/1/comparison").json()
    told = json.loads((teacher.folder.parent / "net-refined" / "refined.json").read_text())
    assert found["accuracy"] == told["test_accuracy"] and found["difference"] == told["difference"]
    (pair,) = found["pairs"]
    assert pair["before"]["prototype"] == 1 and [each["prototype"] for each in pair["after"]] == [1]
    assert pair["before"]["source"] != pair["after"][0]["source"]
    assert pair["before"]["photo"].startswith("data:image/")
    assert pair["before"]["ratio"] == pair["after"][0]["ratio"] == 1
    assert len(found["changed"]) == told["answers_changed"]
    assert teacher.get("/api/versions/0/comparison").status_code == 400
    assert teacher.get("/api/versions/9/comparison").status_code == 400


def test_a_run_that_was_made_anew_is_not_compared_with_what_was_made_of_it_before(teacher, taught, tmp_path):
    for name in ("net", "net-refined"):
        shutil.copytree(teacher.folder.parent / name, tmp_path / name)
    versions, files = Versions(tmp_path / "net"), RunFolder(tmp_path / "net")
    assert versions.comparison(1)["pairs"]
    rows = files.read("prototypes.json")
    files.write("prototypes.json", [*rows[:-1], {**rows[-1], "source": rows[0]["source"]}])
    with pytest.raises(InputError, match="net was made anew since net-refined was made of it"):
        versions.comparison(1)


def test_another_version_is_served_and_what_shows_the_old_one_is_refused(teacher, taught):
    answer, _ = explain(teacher, photo(1))
    assert teacher.get("/api/about").json()["version"] == 0
    state = teacher.post("/api/versions/1/serve", headers={"x-protomask-version": "0"}).json()
    assert state["served"] == 1 and teacher.get("/api/about").json()["title"] == "net-refined"
    old = {"x-protomask-version": "0"}
    refused = teacher.post("/api/review", json={"judgements": []}, headers=old)
    assert refused.status_code == 409 and "anew" in refused.json()["error"]
    assert teacher.post("/api/pictures", content=photo(1), headers=old).status_code == 409
    assert teacher.get(f"/api/pictures/{answer['picture']}/panel").status_code == 404
    record = protomask.open_run(teacher.folder.parent / "net-refined").pictures[1].record
    assert teacher.get("/api/prototypes/1").json()["source"] == record.source
    judge(teacher, (0, "doubtful"))
    assert review_of(teacher.folder.parent / "net-refined").numbers("doubtful") == [0]
    assert review_of(teacher.folder).numbers("doubtful") == []
    assert teacher.post("/api/versions/0/serve").json()["served"] == 0
    again, _ = explain(teacher, photo(1))
    assert again["classes"] == answer["classes"]


def test_stopping_leaves_nothing_half_made(teacher, taught):
    before = sorted(each.name for each in teacher.folder.parent.iterdir())
    assert teacher.post("/api/teach").json()["running"]
    state = teacher.post("/api/teach/stop").json()
    assert not state["running"] and state["made"] is None and state["words"] == "stopped" and state["error"] is None
    assert sorted(each.name for each in teacher.folder.parent.iterdir()) == before
    assert teacher.post("/api/teach/stop").json()["running"] is False  # nothing to stop


def test_what_fails_is_told_and_leaves_nothing(teacher, taught, monkeypatch):
    subject = teacher.app.state.service.subject
    monkeypatch.setattr(subject.run, "options", dataclasses.replace(subject.run.options, root="/nowhere"))
    before = sorted(each.name for each in teacher.folder.parent.iterdir())
    teacher.post("/api/teach")
    last = follow(teacher)[-1]
    assert "/nowhere" in last["error"] and last["made"] is None
    assert sorted(each.name for each in teacher.folder.parent.iterdir()) == before


def test_the_plan_names_what_would_change(run, tmp_path):
    from protomask.serve.of_run import RunSubject

    shutil.copytree(run.folder, tmp_path / "net")
    with client_of(RunSubject(protomask.open_run(tmp_path / "net", progress=False))) as client:
        assert client.get("/api/teach").json()["plan"]["forget"] == []
        judge(client, (0, "forget"), (1, "split"), (2, "doubtful"))
        away = outline(elsewhere(run.network, 3), run.network.grid)
        for number, place in ((3, away), (4, [[0, 0], [1, 0], [1, 1], [0, 1]])):  # where the second lies already
            given = {"prototype": number, "by": "RB", "region": place, "meaning": "evidence"}
            assert client.post("/api/review", json={"judgements": [given]}).status_code == 200
        plan = client.get("/api/teach").json()["plan"]
    assert plan["can_replace"]
    assert (plan["forget"], plan["split"], plan["required"], plan["doubtful"]) == ([0], [1], [3], 1)


def test_what_lies_where_nothing_may_count_is_in_the_plan(run, tmp_path):
    from protomask.run.forbids import Forbids, write_forbids
    from protomask.serve.of_run import RunSubject

    shutil.copytree(run.folder, tmp_path / "net")
    with client_of(RunSubject(protomask.open_run(tmp_path / "net", progress=False))) as client:
        judge(client, (2, "keep"))
        for number in (0, 2):
            place = outline(run.network.source_locations[number].tolist(), run.network.grid)
            given = {"prototype": number, "by": "RB", "region": place, "meaning": "distraction"}
            assert client.post("/api/review", json={"judgements": [given]}).status_code == 200
        plan = client.get("/api/teach").json()["plan"]
        assert (plan["forget"], plan["misplaced"], plan["tolerated"]) == ([0], [0], [2])
        earlier = Forbids((), (source_of(run.network, 4),), ())  # what the run was made with counts, too
        write_forbids(RunFolder(tmp_path / "net"), earlier, run.setup.plain)
        assert client.get("/api/teach").json()["plan"]["misplaced"] == [0, 4]
        begun = client.post("/api/teach")
        assert begun.status_code == 200 and begun.json()["running"]
        client.post("/api/teach/stop")


@pytest.mark.parametrize("prototype, source", [(99, "a.png"), (1, "elsewhere.png")])
def test_a_review_of_another_run_is_refused_in_a_line(run, tmp_path, prototype, source):
    from protomask.serve.of_run import RunSubject

    shutil.copytree(run.folder, tmp_path / "net")
    corners = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
    common = {"at": "2026-01-31T23:59:59Z", "by": "RB", "prototype": prototype, "source": source}
    judgements = [
        {**common, "id": "a", "verdict": "forget"},
        {**common, "id": "b", "region": corners, "meaning": "evidence"},
    ]
    file = tmp_path / "net" / FILE
    file.write_text(json.dumps({"judgements": judgements}))
    before = file.read_bytes()
    mark = {"judgements": [{"prototype": 0, "by": "RB", "verdict": "keep"}]}
    with client_of(RunSubject(protomask.open_run(tmp_path / "net", progress=False))) as client:
        answers = [client.post("/api/teach"), client.get("/api/review"), client.post("/api/review", json=mark)]
        errors = [answer.json()["error"] for answer in answers]
        assert [answer.status_code for answer in answers] == [400] * 3
        for error in [*errors, client.get("/api/teach").json()["plan"]["problem"]]:
            assert f"prototype {prototype}" in error and str(file) in error
            assert error.endswith("restore the run's own review, or remove the file")
    assert file.read_bytes() == before


def test_a_run_that_was_moved_takes_no_marks_until_it_is_back(run, tmp_path):
    from protomask.serve.of_run import RunSubject

    folder, link, moved = tmp_path / "net", tmp_path / "latest", tmp_path / "elsewhere"
    shutil.copytree(run.folder, folder)
    link.symlink_to(folder)
    mark = {"judgements": [{"prototype": 0, "by": "RB", "verdict": "forget"}]}
    with client_of(RunSubject(protomask.open_run(link, progress=False))) as client:
        assert client.post("/api/review", json=mark).status_code == 200
        folder.rename(moved)
        answers = [client.post("/api/teach"), client.get("/api/review"), client.post("/api/review", json=mark)]
        assert [answer.status_code for answer in answers] == [400] * 3
        errors = [answer.json()["error"] for answer in answers]
        for error in [*errors, client.get("/api/teach").json()["plan"]["problem"]]:
            assert error == (
                f"the run's folder {folder} is no longer there (moved or deleted?); put it back, or start protomask "
                "serve where it is now"
            )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "latest"]
        link.unlink()
        link.symlink_to(moved)  # may be another run by now: nothing goes there
        assert client.post("/api/review", json=mark).status_code == 400
        moved.rename(folder)
        assert client.post("/api/review", json=mark).json()["judgements"] == 2


def test_a_version_with_a_review_of_another_run_is_not_served(teacher, taught):
    file = teacher.folder.parent / "net-refined" / FILE
    before = file.read_text()
    told = {"id": "a", "at": "2026-01-31", "by": "RB", "prototype": 0, "source": "elsewhere.png", "verdict": "forget"}
    file.write_text(json.dumps({"judgements": [told]}))
    refused = teacher.post("/api/versions/1/serve")
    file.write_text(before)
    assert refused.status_code == 400 and "elsewhere.png" in refused.json()["error"]
    assert teacher.get("/api/about").json()["title"] == "net"


@pytest.mark.parametrize("path", ["/api/teach", "/api/teach/stop", "/api/versions/0/serve"])
def test_strangers_teach_nothing(client, path):
    assert client.post(path, headers={"x-protomask-key": ""}).status_code == 403
    assert client.post(path, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(path, headers={"host": "evil.example:8765"}).status_code == 421


@pytest.mark.parametrize("number", ["99", "-1", "..%2f..", "1e3"])
def test_versions_are_numbers_and_no_paths(client, number):
    assert client.post(f"/api/versions/{number}/serve").status_code in (400, 404, 422)
    assert client.get(f"/api/versions/{number}/comparison").status_code in (400, 404, 422)


def test_a_plain_classifier_is_not_taught():
    from protomask.serve.of_classifier import open_classifier

    with client_of(open_classifier("test_resnet", image_size=64)) as client:
        assert client.get("/api/teach").status_code == 404


def test_damaged_runs_beside_it_do_not_matter(tmp_path):
    for name, content in (("net", "{}"), ("broken", "{"), ("other", '{"from": "elsewhere"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "refined.json").write_text(content)
        (tmp_path / name / "config.json").write_text("{}")
    versions = Versions(tmp_path / "net")
    assert [each["name"] for each in versions.in_words()] == ["net"]


def test_pictures_of_changed_answers_are_shown(tmp_path):
    from protomask.report.wording import readable
    from protomask.run_folder import RunFolder
    from protomask.serve.versions import _changed

    path = changed_picture(tmp_path / "refined", 0)
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    told = {"image": "a.png", "truth": "a_b", "before": "a_b", "after": "c", "was_right": True, "is_right": False}
    shown = _changed(RunFolder(tmp_path), 0, told, readable)
    assert shown["kind"] == "wrong" and shown["truth"] == "a b" and shown["photo"].startswith("data:image/webp")
    path.write_bytes(b"no picture")
    assert _changed(RunFolder(tmp_path), 0, {**told, "is_right": True}, readable)["photo"] is None
    findings = {**told, "truth": ["a_b", "c"], "before": "no finding"}
    assert _changed(RunFolder(tmp_path), 0, findings, readable)["truth"] == "a b, c"


@pytest.mark.parametrize(
    "images, won, lost, words",
    [(50, 6, 0, "More"), (50, 0, 6, "Less"), (50, 5, 0, "As"), (50, 12, 6, "As"), (6, 6, 0, "More"), (5, 5, 0, "few")],
)
def test_the_verdict_is_that_of_the_report_and_of_the_command(images, won, lost, words):
    before = lost / images
    counts = {"test_images": images, "right_to_wrong": lost, "wrong_to_right": won, "changed": [{}]}
    scores = {"before": before, "after": before + (won - lost) / images}
    kinds = dict.fromkeys(("forgotten", "replaced", "required", "split", "added"), [])
    # An interval as files of before have it, whatever they say.
    told = {**counts, "test_accuracy": scores, "difference": {"mean": 0.1, "low": 0.01, "high": 0.2}, **kinds}
    assert words in verdict(told)
    with pytest.raises(InputError, match="refined.json tells of .* changed images of .*; refine the run again"):
        verdict({**told, "right_to_wrong": images + 1})
    decided = words in ("More", "Less")
    report = difference(scores["before"], scores["after"], images, told)
    assert report.endswith("within chance") is not decided
    reach = re.search(r"\[([+-][.\d]+), ([+-][.\d]+)\]", in_words(told))
    clear = reach is not None and float(reach[1]) * float(reach[2]) > 0
    assert clear is decided
