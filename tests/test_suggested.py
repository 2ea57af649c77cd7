"""Commands in messages can be copied as they stand."""

import re
import shlex
from pathlib import Path

import pytest

import protomask
from protomask.errors import InputError
from protomask.localizers.amortised.files import open_explainer
from protomask.suggested import command


def test_a_command_comes_back_from_the_shell():
    words = ["prune", Path("my runs/bird's"), "--prototypes", "1,2"]
    assert shlex.split(command(*words)) == ["protomask", *map(str, words)]


def test_a_folder_with_spaces_is_quoted(tmp_path):
    folder = tmp_path / "a run"
    folder.mkdir()
    with pytest.raises(InputError) as error:
        open_explainer(folder)
    assert str(error.value).endswith(f"protomask distill '{folder}'")


def test_no_message_writes_a_command_by_hand():
    """A folder within one would break the command where it has a space."""
    by_hand = re.compile(r"protomask [a-z-]+ (-[-a-z ]+)?\{")
    sources = sorted(Path(protomask.__file__).parent.rglob("*.py"))
    found = [
        f"{path}: {line}" for path in sources for line in path.read_text("utf-8").splitlines() if by_hand.search(line)
    ]
    assert not [line for line in found if "/cli.py" not in line], found
