"""The versions of a run: found by what their files tell, however the run was named when they were made."""

import json
import os

import pytest

from protomask.serve.versions import MOST, Versions

REFINED = {
    "forgotten": [0],
    "replaced": [0],
    "test_images": 40,
    "test_accuracy": {"before": 0.9, "after": 0.95},
    "difference": {"mean": 0.05, "low": -0.01, "high": 0.11},
    "right_to_wrong": 1,
    "wrong_to_right": 3,
    "changed": [],
}


def make(folder, made_from=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if made_from is not None:
        (folder / "refined.json").write_text(json.dumps({"from": str(made_from), **REFINED}))
    return folder


def origins(folder):
    """By name of each version that of the one that it was made from."""
    told = Versions(folder).in_words()
    return {each["name"]: None if each["made_from"] is None else told[each["made_from"]]["name"] for each in told}


def test_many_folders_beside_a_run_hide_no_version(tmp_path):
    net = make(tmp_path / "net")
    make(tmp_path / "net-refined", net)
    for number in range(MOST + 5):
        (tmp_path / f"a{number:03d}").mkdir()
    assert origins(net) == {"net": None, "net-refined": "net"}


@pytest.mark.parametrize("told", ["latest", "elsewhere/latest", "/gone/net"])
def test_a_run_that_was_named_by_a_link_or_has_moved_is_found(tmp_path, monkeypatch, told):
    monkeypatch.chdir(tmp_path)
    net = make(tmp_path / "runs" / "net")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "latest").symlink_to(net)
    (tmp_path / "runs" / "latest").symlink_to(net)
    make(tmp_path / "runs" / "net-refined", told)
    versions = Versions(tmp_path / "runs" / "latest")
    assert [each["made_from"] for each in versions.in_words()] == [None, 0]


def test_a_link_that_leads_to_another_run_by_now_is_not_taken_for_it(tmp_path):
    net, other = make(tmp_path / "net"), make(tmp_path / "other")
    (tmp_path / "latest").symlink_to(other)
    make(tmp_path / "net-refined", tmp_path / "latest")
    assert origins(other) == {"other": None}
    assert origins(net) == {"net": None}


@pytest.mark.parametrize("made", ["net-refined", "net/net-refined"])
def test_a_run_that_was_named_from_within_is_found(tmp_path, monkeypatch, made):
    net = make(tmp_path / "net")
    refined = make(tmp_path / made, ".")
    monkeypatch.chdir(net)
    assert origins(refined) == {"net-refined": "net", "net": None}
    monkeypatch.chdir(make(tmp_path / "other"))
    assert "other" not in origins(refined).values()


def test_names_that_lead_nowhere_do_not_matter(tmp_path):
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    for number, told in enumerate((tmp_path / "loop", "a\0b", "", "..", "/", ".")):
        make(tmp_path / f"net-refined-{number}", told)
    assert origins(make(tmp_path / "net")) == {"net": None}
