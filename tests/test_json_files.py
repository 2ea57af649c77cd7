"""JSON with a checksum: what is written is read again, and one changed bit never passes as something else."""

import json
import math

import pytest

from protomask.errors import InputError
from protomask.json_files import read_json, write_json

CONTENT = {
    "test_accuracy": {"final": 0.75, "before": None},
    "images": [1, 2, 3],
    "names": ["ä", "\udcff"],
    "flag": True,
}


@pytest.mark.parametrize("name", ["metrics.json", "log.jsonl"])
def test_one_changed_bit_is_an_error_or_changes_nothing(tmp_path, name):
    path, content = tmp_path / name, [CONTENT, CONTENT] if name == "log.jsonl" else CONTENT
    write_json(path, content)
    assert read_json(path) == content
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
            try:
                found = read_json(path)
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                refused += 1
            else:
                assert found == content
    assert refused > 6 * len(whole)


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": [math.nan, math.inf, 1.5]})
    assert read_json(tmp_path / "x.json") == {"a": [None, None, 1.5]}


def test_files_without_a_checksum_are_read_and_changed_ones_say_how_to_keep_the_change(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": 1})
    path.write_text(json.dumps({**json.loads(path.read_text()), "a": 2}))
    with pytest.raises(
        InputError, match='config.json is damaged .*checksum differs.*restore it, or take the "checksum" out'
    ):
        read_json(path)


def test_lines_that_are_missing_at_the_end_are_noticed(tmp_path):
    path, rows = tmp_path / "log.jsonl", [{"stage": "joint", "epoch": epoch} for epoch in range(3)]
    write_json(path, rows)
    assert read_json(path) == rows
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:-1], lines[1:], [lines[0]], [*lines, lines[-1]]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(InputError, match=f"log.jsonl is damaged .{len(kept)} lines"):
            read_json(path)
    path.write_text('{"stage": "joint"}\n')  # written by hand, or by an older version
    assert read_json(path) == [{"stage": "joint"}]
