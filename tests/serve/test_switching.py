"""What a page asked before another network was put to use is never answered by that one."""

import shutil
import threading
import time

import pytest

import protomask
from protomask.run.review import review_of
from protomask.serve import app as addresses
from protomask.serve import judging
from protomask.serve.of_run import RunSubject
from protomask.serve.worker import Job

from .conftest import client_of, events, explain, photo

HIDE = {"strokes": [{"points": [[0.3, 0.3]], "radius": 0.2}], "fill": "blur"}
MARK = {"judgements": [{"prototype": 0, "by": "RB", "verdict": "forget"}]}


@pytest.fixture
def two(run, tmp_path):
    """A page of one run, and another run of the same prototypes that answers otherwise."""
    subjects = []
    for name in ("one", "other"):
        shutil.copytree(run.folder, tmp_path / name)
        subjects.append(RunSubject(protomask.open_run(tmp_path / name, progress=False), "similarity"))
    subjects[1].network.last_layer.weight.data.neg_()
    with client_of(subjects[0]) as client:
        yield client, *subjects


@pytest.mark.parametrize("what", ["hide", "panel"])
def test_what_waits_while_the_network_changes_is_refused(two, what):
    client, _, other = two
    service, begun, end = client.app.state.service, threading.Event(), threading.Event()
    picture = explain(client, photo(1))[0]["picture"]
    address = f"/api/pictures/{picture}/{what}"
    ask = {"hide": lambda: client.post(address, json=HIDE), "panel": lambda: client.get(address)}[what]
    assert ask().status_code == 200

    def switch(job):
        begun.set()
        end.wait(60)
        service.switch(other)

    service.worker.submit(Job(switch, lambda event: None))
    assert begun.wait(60)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask()))
    asking.start()
    while not service.worker.waiting:
        time.sleep(0.01)
    end.set()
    asking.join(60)
    assert answers[0].status_code == 400 and answers[0].json()["error"] == addresses.OLD


def during(monkeypatch, module, name, do):
    """Do something while a request is being received."""
    receive = getattr(module, name)

    async def received(*args):
        do()
        return await receive(*args)

    monkeypatch.setattr(module, name, received)


def test_a_picture_that_arrives_while_the_network_changes_is_not_explained_by_the_other(two, monkeypatch):
    client, _, other = two
    service = client.app.state.service
    during(monkeypatch, addresses, "receive", lambda: service.switch(other))
    told = events(client.post("/api/pictures", content=photo(1)))
    assert [each["error"] for each in told if "error" in each] == [addresses.OLD]
    assert not any("answer" in each for each in told) and service.room.held == 0


def test_marks_that_arrive_while_the_network_changes_go_to_the_run_that_was_judged(two, monkeypatch):
    client, one, other = two
    during(monkeypatch, judging, "read_words", lambda: client.app.state.service.switch(other))
    assert client.post("/api/review", json=MARK).json()["judgements"] == 1
    assert review_of(one.folder).numbers("forget") == [0] and not review_of(other.folder).judgements
