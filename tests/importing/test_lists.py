"""Files of class names: what is a name, and what a number before it."""

import pytest

from protomask.errors import InputError
from protomask.importing.lists import names_in, read_names
from protomask.localization.folder import read_labels

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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0 cat\n1 dog\n2 bird\n", ["cat", "dog", "bird"]),
        ("3 cat\n2 dog\n1 bird\n", ["bird", "dog", "cat"]),  # they became "3 cat", "2 dog", "1 bird"
        ('0,cat\n2,"bird, small"\n1,dog\n', ["cat", "dog", "bird, small"]),
        ("0: 3 stripes\n1: dog\n", ["3 stripes", "dog"]),
        ("1\tcat\n2\tdog\n", ["cat", "dog"]),
        ("1 001.Albatross\n2 002.Auklet\n", ["001.Albatross", "002.Auklet"]),
        ("001.Albatross\n002.Auklet\n", ["001.Albatross", "002.Auklet"]),
        ("2 door car\n4 door car\n", ["2 door car", "4 door car"]),
        ("1 stripe\n2 stripes\n3 stripes\n", ["1 stripe", "2 stripes", "3 stripes"]),
        ("1 euro\n2 euro\n5 euro\n", ["1 euro", "2 euro", "5 euro"]),
        ("[background]\ncat\n", ["[background]", "cat"]),
        ("1 euro\n10 cent\n2 euro\n", COINS),
        ("1,4-dioxane\n2,4-D\n", ["1,4-dioxane", "2,4-D"]),
        ("4:3\n16:9\n", ["4:3", "16:9"]),
        ("3 stripes\ncat\n", ["3 stripes", "cat"]),
        ("1;dog\n0;cat\n2;owl\n", ["cat", "dog", "owl"]),  # in the order of lines, with the numbers in the names
        ('1;dog\n0;"cat; small"\n', ["cat; small", "dog"]),
        ('"1","dog"\n"0","cat"\n"2","owl, ""grey"""\n', ["cat", "dog", 'owl, "grey"']),
        ('"1";"2 door car"\n"2";"3 door car"\n', ["2 door car", "3 door car"]),
        ('"1",dog\n"0",4-dioxane\n', ["4-dioxane", "dog"]),
        ("1. dog\n0. cat\n", ["cat", "dog"]),
        ("1) dog\n0) cat\n", ["cat", "dog"]),
        ("1=dog\n0=cat\n", ["cat", "dog"]),
        ("dog,1\ncat,0\nowl,2\n", ["cat", "dog", "owl"]),
        ("dog;2\ncat;1\n", ["cat", "dog"]),
        ("dog\t1\ncat\t0\n", ["cat", "dog"]),
        ("dog: 1\ncat: 0\n", ["cat", "dog"]),
        ('"dog","1"\n"cat, small","0"\n', ["cat, small", "dog"]),
        ("/a/airfield 0\n/a/alley 1\n", ["/a/airfield", "/a/alley"]),  # Places365
        ("/a/alley 1\n/a/airfield 0\n", ["/a/airfield", "/a/alley"]),
        ("class 2\nclass 1\n", ["class 2", "class 1"]),
        *(
            (names, names.splitlines())
            for names in (
                "18. Jahrhundert\n19. Jahrhundert\n20. Jahrhundert\n",
                "1. FC Köln\n1. FC Union\n3. Liga\n",
                "2. Liga\n3. Liga\n",
                "3=three\n5=five\n",
                "35) x\n36) y\n",
                "3|three\n5|five\n",
                "Diabetes type 1\nDiabetes mellitus type 2\n",
                "diabetes type 2\nhypertension grade 1\n",
                "stage 0\ngrade 1\n",
                "and/or type 1\nn/a grade 2\n",
                "ER/PR 1\nKI/67 0\n",
            )
        ),
        ("Boeing 747\nAirbus 320\n", ["Boeing 747", "Airbus 320"]),
        ("2:1\n3:2\n", ["2:1", "3:2"]),
        ("dog,1\ncat\n", ["dog,1", "cat"]),
        ("3\n2\n1\n0\n", ["3", "2", "1", "0"]),
        ('[\n"cat",\n"dog"\n]', ["cat", "dog"]),
        ('{"1": "dog", "0": "cat"}', ["cat", "dog"]),
    ],
)
def test_labels_say_which_class_is_which(text, names, tmp_path):
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    assert read_labels(str(tmp_path / "names.txt")) == names
    if text[0] in "[{":
        assert read_names(tmp_path / "names.txt") == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 cat\n1 dog\n1 bird\n3 fish\n", "names.txt:3: 1 is there twice; numbers before 4 names must be 0 to 3 or"),
        ("0 cat\n1 dog\n2 bird\n4 fish\n", "names.txt:4: 4 is no number of a class"),
        ("3,finch\n17,wren\n", "names.txt:1: 3 is no number of a class"),
        ("1;finch\n1;wren\n", "names.txt:2: 1 is there twice"),
        ('["cat",\n', "is not JSON"),
        ('{"0": ["n01440764", "tench"]}', "other JSON than a list of names"),
        ('{"0": "cat", "5": "dog"}', "other JSON than a list of names"),
        ("[]", "other JSON"),
    ],
)
def test_labels_that_leave_open_which_class_is_meant_are_refused(text, says, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(InputError, match=f"labels .*{says}"):
        read_labels(str(tmp_path / "names.txt"))
