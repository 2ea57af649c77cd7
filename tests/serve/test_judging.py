"""Judging over the page's addresses."""

import concurrent.futures

import pytest

from protomask.run.review import FILE, review_of


@pytest.fixture(autouse=True)
def unjudged(run):
    yield
    (run.folder / FILE).unlink(missing_ok=True)


def judge(client, *judgements):
    return client.post("/api/review", json={"judgements": list(judgements)})


def test_marks_are_kept_in_the_run(client, run):
    assert client.get("/api/review").json() == {
        "prototypes": {},
        "regions": [],
        "judgements": 0,
        "can_replace": True,
    }
    found = judge(client, {"prototype": 1, "by": "RB", "verdict": "forget", "note": "letters"})
    assert found.json()["prototypes"]["1"]["verdict"] == "forget"
    judge(client, {"prototype": 1, "by": "RB", "region": [[0, 0], [1, 0], [0, 1]], "meaning": "distraction"})
    assert review_of(run.folder).numbers("forget") == [1]
    (region,) = client.get("/api/review").json()["regions"]
    assert region["corners"] == [[0, 0], [1, 0], [0, 1]] and region["by"] == "RB"


def test_two_people_at_once_lose_nothing(client, run):
    def one(number):
        return judge(client, {"prototype": number % 6, "by": f"P{number % 2}", "verdict": "keep", "note": str(number)})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(one, range(30))} == {200}
    found = review_of(run.folder).judgements
    assert sorted(int(each["note"]) for each in found) == list(range(30))


def outlines(count, corners=900):
    """As a pointer draws them."""
    region = [[round(0.1 + 0.0005 * at, 4), round(0.2 + 0.0005 * at, 4)] for at in range(corners)]
    return [{"prototype": 0, "by": "RB", "region": region, "meaning": "evidence"}] * count


def test_a_file_of_many_outlines_is_added(client):
    found = judge(client, *outlines(80))
    assert found.status_code == 200 and found.json()["judgements"] == 80


def test_a_file_that_is_too_large_is_told_the_way_out(client, run, monkeypatch):
    from protomask.serve import judging

    monkeypatch.setattr(judging, "MOST_BYTES_OF_MARKS", 2**20)
    found = judge(client, *outlines(80))
    assert found.status_code == 413
    assert found.json()["error"].endswith(f"give the file by --review: protomask refine '{run.folder}' --review FILE")
    assert client.app.state.service.room.held == 0 and not (run.folder / FILE).exists()


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {},
        {"judgements": []},
        {"judgements": [3]},
        {"judgements": [{"prototype": 99, "by": "RB", "verdict": "keep"}]},
        {"judgements": [{"prototype": 0, "by": "RB", "verdict": "burn"}]},
        {"judgements": [{"prototype": 0, "by": "RB", "verdict": "keep", "id": "../../x" * 20}]},
    ],
)
def test_what_is_no_judgement_is_refused(client, run, words):
    found = client.post("/api/review", json=words)
    assert found.status_code == 400 and found.json()["error"]
    assert not (run.folder / FILE).exists()


def test_the_key_is_needed(client):
    refused = client.post("/api/review", json={"judgements": []}, headers={"x-protomask-key": ""})
    assert refused.status_code == 403


def test_every_prototype_is_listed(client, run):
    found = client.get("/api/prototypes").json()
    assert [each["prototype"] for each in found] == list(range(run.network.prototype_count))
