"""Files of class names: what is a name, and what a number before it."""

import pytest

from protomask.errors import InputError
from protomask.importing.lists import names_in, read_names

COINS = ["1 euro", "10 cent", "2 euro"]


@pytest.mark.parametrize(
    ("text", "classes", "names"),
    [
        ("1 euro\n10 cent\n2 euro\n", COINS, COINS),  # they were "euro", "cent", "euro"
        ("1 euro\n2 euro\n", ["1 euro", "2 euro"], ["1 euro", "2 euro"]),  # counts up, and is part of the names
        ("2 euro\r\n10 cent\r\n1 euro\r\n", COINS, ["2 euro", "10 cent", "1 euro"]),
        ("1 1 euro\n2 2 euro\n3 10 cent\n", COINS, ["1 euro", "2 euro", "10 cent"]),
        ("1 001.Finch\n2 002.Wren\n", ["001.Finch", "002.Wren"], ["001.Finch", "002.Wren"]),
        ("0\tfinch\n1\twren\n", ["finch", "wren"], ["finch", "wren"]),
        ("3 finch\n17 wren\n", ["finch", "wren"], ["finch", "wren"]),  # some of CUB's
        ("2 finch\n1 wren\n", ["finch", "wren"], ["2 finch", "1 wren"]),  # whose order is meant?
        ("0\n1\n2\n", ["0", "1", "2"], ["0", "1", "2"]),
        (" finch \n\n wren\n", ["finch", "wren"], ["finch", "wren"]),
        (" finch\ncaf\u2028e\n", [" finch", "caf\u2028e"], [" finch", "caf\u2028e"]),
        ("9" * 5000 + " finch\n", ["finch"], ["9" * 5000 + " finch"]),
    ],
)
def test_numbers_are_taken_off_where_they_are_no_part_of_names(text, classes, names, tmp_path):
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8", newline="")
    assert names_in(read_names(tmp_path / "classes.txt"), classes) == names


def test_a_file_without_names_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text(" \n\n")
    with pytest.raises(InputError, match="no names in it"):
        read_names(tmp_path / "classes.txt")
