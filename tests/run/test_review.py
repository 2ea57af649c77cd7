"""Judgements of prototypes: kept, joined, never lost."""

import json
import multiprocessing
import threading

import pytest

from protomask.errors import InputError
from protomask.explanations.records import PrototypeRecord
from protomask.run.review import FILE, Review, add_judgements, join_reviews, read_review, review_of

RECORDS = [
    PrototypeRecord(number, "bird", f"train/{number}.png", (0, 0), 1.0, (0, 0, 8, 8), 1.0) for number in range(4)
]


def judge(folder, *given):
    return add_judgements(folder, given, RECORDS)


def test_the_last_word_of_each_person_counts(tmp_path):
    judge(tmp_path, {"prototype": 1, "by": "RB", "verdict": "forget", "note": "a caliper"})
    assert review_of(tmp_path).numbers("forget") == [1]
    judge(tmp_path, {"prototype": 1, "by": "AM", "verdict": "keep"})
    standing = review_of(tmp_path).standing()[1]
    assert standing.verdict == "doubtful" and standing.disputed
    assert standing.words == {"RB": ("forget", "a caliper"), "AM": ("keep", "")}
    judge(tmp_path, {"prototype": 1, "by": "AM", "verdict": "forget"})
    assert review_of(tmp_path).standing()[1].verdict == "forget"
    assert len(review_of(tmp_path).judgements) == 3  # history stays


def test_regions_are_kept_and_can_be_withdrawn(tmp_path):
    region = {"prototype": 2, "by": "RB", "region": [[0, 0], [0.5, 0], [0.5, 0.5]], "meaning": "distraction"}
    found = judge(tmp_path, region).regions()
    assert [(each.prototype, each.meaning, each.by) for each in found] == [(2, "distraction", "RB")]
    assert found[0].corners[1] == (0.5, 0.0)
    assert judge(tmp_path, {**region, "withdrawn": True}).regions() == []


def test_files_from_several_places_are_joined_and_nothing_counts_twice(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    judge(here, {"prototype": 0, "by": "RB", "verdict": "keep"})
    judge(there, {"prototype": 3, "by": "AM", "verdict": "forget"})
    exported = read_review(there / FILE).judgements
    for _ in range(2):
        joined = judge(here, *exported)
    assert len(joined.judgements) == 2 and joined.numbers("forget") == [3] and joined.numbers("keep") == [0]


def test_the_last_word_is_the_latest_and_not_the_one_that_was_added_last(tmp_path):
    word = {"prototype": 0, "by": "RB"}
    judge(tmp_path, {**word, "verdict": "forget", "at": "2026-11-28T12:00:00.500Z"})
    judge(tmp_path, {**word, "verdict": "keep", "at": "2026-11-27T23:00:00+00:00"})  # a file of yesterday's
    assert review_of(tmp_path).numbers("forget") == [0]
    one = review_of(tmp_path)
    assert join_reviews([one, one, Review(one.judgements[:1])]).judgements == one.judgements


@pytest.mark.parametrize(
    "times",
    [
        ("2026-01-31T23:00:00", "2026-02-01T07:00:00+09:00"),  # the second is 22:00 UTC
        ("2026-01-31T23:00:00Z", "2026-01-31T23:30:00+01:00"),
        ("2026-01-31T23:00:00.500+00:00", "2026-01-31T23:00:00.400Z"),
    ],
)
def test_the_last_word_is_told_by_the_instant_whatever_the_zone(tmp_path, times):
    word = {"prototype": 0, "by": "RB"}
    judge(tmp_path, {**word, "verdict": "forget", "at": times[0]}, {**word, "verdict": "keep", "at": times[1]})
    assert review_of(tmp_path).numbers("forget") == [0]


def test_a_word_without_a_time_has_that_of_its_adding(tmp_path):
    judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "forget"})
    judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "keep"})
    assert review_of(tmp_path).numbers("keep") == [0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"at": "yesterday"}, r"judgements\[1\]\.at is 'yesterday'; it must be a time"),
        ({"id": "a"}, "two judgements that differ have the id 'a'"),
        ({"region": [[0, 0], [5, 0], [0, 1]]}, "is 5; it must be a number from -0.01 to 1.01"),
    ],
)
def test_a_wrong_judgement_of_a_file_is_named(tmp_path, change, message):
    one = {"id": "a", "at": "2026-01-31T23:59:59", "by": "RB", "prototype": 0, "source": "train/0.png"}
    one["verdict"] = "keep"
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"judgements": [one, {**one, "id": "b", "verdict": "forget"} | change]}))
    with pytest.raises(InputError, match=message) as caught:
        read_review(file)
    assert str(file) in str(caught.value)


def test_the_same_id_is_one_judgement_only_where_all_is_the_same(tmp_path):
    one = judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "keep", "id": "a"})
    (tmp_path / "twice.json").write_text(json.dumps({"judgements": [one.judgements[0]] * 2}))
    assert read_review(tmp_path / "twice.json") == one
    other = Review(({**one.judgements[0], "verdict": "forget"},))
    with pytest.raises(InputError, match="the reviews together: two judgements that differ have the id 'a'"):
        join_reviews([one, other])


def _judge_often(folder, by):
    for number in range(10):
        judge(folder, {"prototype": number % 4, "by": by, "verdict": "keep", "note": str(number)})


def test_many_people_in_several_processes_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_judge_often, args=(tmp_path, f"process {number}")) for number in range(2)]
    threads = [threading.Thread(target=_judge_often, args=(tmp_path, f"thread {number}")) for number in range(3)]
    for each in (*others, *threads):
        each.start()
    for each in (*others, *threads):
        each.join()
    found = review_of(tmp_path).judgements
    assert len(found) == 50 and len({each["id"] for each in found}) == 50
    for by in {each["by"] for each in found}:
        assert [each["note"] for each in found if each["by"] == by] == [str(number) for number in range(10)]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"prototype": 1, "by": "RB"},
        {"prototype": 1, "by": " ", "verdict": "keep"},
        {"prototype": 9, "by": "RB", "verdict": "keep"},
        {"prototype": -1, "by": "RB", "verdict": "keep"},
        {"prototype": True, "by": "RB", "verdict": "keep"},
        {"prototype": "1", "by": "RB", "verdict": "keep"},
        {"prototype": 1, "by": "RB", "verdict": "burn"},
        {"prototype": 1, "by": "R" * 41, "verdict": "keep"},
        {"prototype": 1, "by": "RB", "verdict": "keep", "note": "x" * 2001},
        {"prototype": 1, "by": "RB", "region": [[0, 0], [1, 1]], "meaning": "evidence"},
        {"prototype": 1, "by": "RB", "region": [[0, 0], [1, 1], [9, 9]], "meaning": "evidence"},
        {"prototype": 1, "by": "RB", "region": [[0, 0], [1, 1], [0, 1]]},
        {"prototype": 1, "by": "RB", "verdict": "keep", "source": "another image"},
        {"prototype": 1, "by": "RB", "verdict": "keep", "at": "zzz"},
        {"prototype": 1, "by": "RB", "verdict": "keep", "at": "2026-13-01T00:00:00Z"},
        {"prototype": 1, "by": "RB", "verdict": "keep", "at": ""},
        {"prototype": 1, "by": "RB", "verdict": "keep", "id": "first"},
    ],
)
def test_what_is_no_judgement_is_refused_and_changes_nothing(tmp_path, given):
    judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "keep", "id": "first"})
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError):
        judge(tmp_path, {"prototype": 2, "by": "RB", "verdict": "keep"}, given)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_damaged_file_is_told_and_not_overwritten(tmp_path):
    judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "keep"})
    content = (tmp_path / FILE).read_text().replace("keep", "forget")
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match="damaged"):
        judge(tmp_path, {"prototype": 0, "by": "RB", "verdict": "keep"})
    assert (tmp_path / FILE).read_text() == content
    (tmp_path / FILE).write_text(json.dumps({"something": "else"}))
    with pytest.raises(InputError, match="no review"):
        review_of(tmp_path)
    assert Review().standing() == {}


def test_a_folder_that_has_gone_is_not_made_anew(tmp_path):
    gone = tmp_path / "gone"
    for ask in (review_of, lambda folder: judge(folder, {"prototype": 0, "by": "RB", "verdict": "keep"})):
        with pytest.raises(InputError, match=r"gone is no longer there \(moved or deleted\?\); put it back, or start"):
            ask(gone)
    assert not gone.exists()
