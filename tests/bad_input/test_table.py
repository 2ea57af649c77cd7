"""docs/bad-input.md and docs/bad-input-sets.md: each row of their tables, made and answered."""

import re
import shutil
from pathlib import Path

import pytest

from protomask.cli import main
from protomask.data import Splits, checking
from protomask.errors import InputError
from tests.bad_input.kinds import KINDS
from tests.bad_input.sets import MAKERS
from tests.support.toy import ColourImages

DOCS = Path(__file__).parent.parent.parent / "docs"
TABLES = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("bad-input.md", "bad-input-sets.md"))
ROWS = dict(re.findall(r"^\| ([^|]+?) \| (.+?) \|$", TABLES, re.MULTILINE))
ROWS = {name: message for name, message in ROWS.items() if "`" in message}
QUIET = ("check", "train", "import-official", "evaluate")
SMALL = ("--backbone", "test_resnet", "--image-size", "32")
"""a network that check builds in no time: what is asked of it here is the data"""


def pattern(message, root):
    """A row's message as a regular expression: ROOT is the folder, ... anything."""
    text = re.search(r"`(.+)`", message)[1].replace("ROOT", str(root))
    return "^" + re.escape(text).replace(r"\.\.\.", ".*") + "$"


def run(words, capsys):
    more = [*(["--quiet"] if words[0] in QUIET else []), *(SMALL if words[0] == "check" else [])]
    code = main([*map(str, words), *more])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, (captured.out + captured.err).splitlines()


def test_the_table_and_the_kinds_are_the_same():
    assert list(ROWS) == list(KINDS) and len(KINDS) >= 30


@pytest.mark.parametrize("name", KINDS)
def test_a_row(name, good, tmp_path, capsys):
    data, spoil = KINDS[name]
    root = tmp_path / "a set"
    shutil.copytree(good / data, root) if data else root.mkdir()
    words = spoil(root) or ["check", data, "--root", root]
    code, lines = run(words, capsys)
    fine = ROWS[name].startswith("fine: ")
    assert code == (0 if fine else 2), lines
    wanted = pattern(ROWS[name], root)
    assert any(re.match(wanted, line) for line in lines), (wanted, lines)
    if not fine:
        assert lines[-1].startswith("protomask: error: ")
    assert not (root / "run").exists()


COUNTS = "protomask: data: "
"""how the line begins that says how many images there are"""
UNTESTED = "findings without a test picture"
"""what a remark on the small chestxray says"""


@pytest.mark.parametrize("data", MAKERS)
def test_good_sets_have_no_problem(data, good, capsys):
    code, lines = run(["check", data, "--root", good / data], capsys)
    if data == "chestxray":
        assert UNTESTED in lines.pop(1)
    assert code == 0 and len(lines) == 2 and "no problem" in lines[-1] and lines[0].startswith(COUNTS)


@pytest.mark.parametrize(
    "data, kinds",
    [
        ("folder", ["mask of another size", "box in words", "pixels of type float", "broken link"]),
        (
            "cub",
            [
                "malformed line",
                "id twice",
                "unknown class",
                "label of no image",
                "box beyond the image",
                "unknown part",
                "missing segmentation",
            ],
        ),
        ("busi", ["unknown label", "near-duplicates on both sides", "row of no image"]),
        ("chestxray", ["listed image without labels", "missing archive of images", "box of a finding in words"]),
    ],
)
def test_all_problems_are_found_in_one_pass(data, kinds, good, tmp_path, capsys):
    root = tmp_path / "a set"
    shutil.copytree(good / data, root)
    for name in kinds:
        KINDS[name][1](root)
    code, lines = run(["check", data, "--root", root], capsys)
    assert code == 2
    for name in kinds:
        assert any(re.match(pattern(ROWS[name], root), line) for line in lines), (name, lines)
    lines = [line for line in lines if not line.startswith(COUNTS) and UNTESTED not in line]
    assert int(re.search(r": (\d+) problems, ", lines[-1])[1]) == len(lines) - 1 == len(set(lines)) - 1


def test_all_wrong_values_of_options_are_found_too(good, tmp_path, capsys):
    root = tmp_path / "a set"
    shutil.copytree(good / "folder", root)
    KINDS["box in words"][1](root)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    wrong = ["--epochs", "0", "--prototype-size", "-1", "--recipe", "frozen", "--output", tmp_path / "run"]
    code, lines = run(["check", "folder", "--root", root, *wrong], capsys)
    found = "\n".join(lines)
    assert code == 2 and "5 problems" in lines[-1], lines
    for said in (
        "--epochs is 0",
        "--prototype-size is -1",
        "boxes.csv:3",
        "go on with it by --resume, or give another",
    ):
        assert said in found
    assert "give them by --weights, or the library's own by --pretrained" in found


def test_other_commands_stop_at_the_first(good, tmp_path, capsys):
    root = tmp_path / "a set"
    shutil.copytree(good / "folder", root)
    KINDS["box in words"][1](root)
    code, lines = run(["train", "--data", "folder", "--root", root, "--output", tmp_path / "run"], capsys)
    assert code == 2 and lines[-1].startswith(f"protomask: error: {root}/boxes.csv:3: malformed row")
    code, lines = run(["check", "folder", "--root", good / "folder", "--threads", "0"], capsys)
    assert code == 2 and "--threads" in lines[-1]


def test_a_data_set_of_another_kind_is_read_to_its_end(monkeypatch):
    class Spoilt(ColourImages):
        def load(self, index):
            if index % 4 == 1:
                raise InputError(f"picture {index}:\nnot readable")
            return super().load(index)

    splits = Splits(Spoilt(), ColourImages(1), Spoilt(2, seed=1))
    monkeypatch.setattr(checking, "find_data", lambda name: lambda root: splits)
    monkeypatch.setattr(checking, "load_data", lambda *names, **others: splits)
    found = checking.check_data("mine", workers=2)
    assert found.images == 24 + 3 + 6 and found.problems == [
        f"picture {index}: not readable" for index in (1, 5, 9, 13, 17, 21)
    ]
