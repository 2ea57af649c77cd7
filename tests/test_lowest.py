"""The lowest supported versions, which .ci/lowest tests, are the bounds in setup.cfg."""

import configparser
import re
from pathlib import Path

HOME = Path(__file__).parent.parent


def bounds():
    """Lower bound of every dependency but the developers' own tools."""
    setup = configparser.ConfigParser()
    setup.read(HOME / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"]]
    lists += [words for extra, words in setup["options.extras_require"].items() if extra not in ("dev", "docs")]
    found: dict[str, set[str]] = {}
    for line in filter(None, (line.strip() for words in lists for line in words.splitlines())):
        name, version = re.fullmatch(r"([\w.-]+)>=([\d.]+)", line).groups()
        found.setdefault(name.lower(), set()).add(version)
    return found


def test_constraints_are_the_bounds():
    lines = (HOME / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert {name: {version} for name, version in pinned.items()} == bounds()
