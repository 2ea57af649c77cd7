"""Commands that two processes share leave the files that one process leaves, byte for byte."""

import json

import pytest

from protomask.cli import main
from tests.distributed.jobs import torchrun
from tests.end_to_end.conftest import copied

COMMANDS = """
import json, sys, torch
from protomask import distributed
from protomask.cli import main
with distributed.job(torch.device("cpu")):  # joined once: the addresses of the processes are good for one time
    for words in json.loads(sys.argv[1]):
        assert main(words) == 0, words
"""
PICTURES = [
    ["project", "RUN", "--localizer", "mdm:keep.steps=3,center", "--quiet", "--device", "cpu"],
    ["report", "RUN", "--explained", "3", "--figures", "svg", "--quiet", "--device", "cpu"],
]


def together(folder, commands):
    """Run commands one after the other, all of them in the same two processes."""
    script = folder / "commands.py"
    script.write_text(COMMANDS, encoding="utf-8")
    done = torchrun(2, [str(script), json.dumps(commands)])
    assert done.returncode == 0, done.stderr
    return done


def filled(commands, **words):
    return [[words.get(word, word) for word in each] for each in commands]


@pytest.fixture(scope="module")
def both(run, tmp_path_factory):
    """The same run, its pictures and its page made by one process and by two."""
    folders = []
    for name in ("one", "two"):
        copy = copied(run, tmp_path_factory.mktemp(name) / "run")
        config = copy.read("config.json")
        config["options"]["batch_size"] = 3  # so that the six prototypes are more than one piece
        copy.write("config.json", config)
        commands = filled(PICTURES, RUN=str(copy.folder))
        if name == "one":
            for words in commands:
                assert main(words) == 0
        else:
            together(copy.folder.parent, commands)
        folders.append(copy)
    return folders


def test_pictures_and_inspection(both):
    one, two = both
    names = sorted(path.name for path in (one / "prototypes").iterdir())
    assert names == sorted(path.name for path in (two / "prototypes").iterdir())
    assert {"0005.png", "maps.npz", "nearest.npz", "files.json"} <= set(names) and "pieces" not in names
    for name in (*(f"prototypes/{each}" for each in names), "prototypes.json", "inspection.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert one.read("metrics.json")["reasoning"] == two.read("metrics.json")["reasoning"]


def test_the_page_and_its_figures(both):
    one, two = both
    pages = [(run / "report.html").read_text(encoding="utf-8").replace(str(run.folder), "RUN") for run in both]
    assert pages[0] == pages[1] and "data:image/webp" in pages[0]
    assert {path.name for path in (one / "figures").iterdir()} == {path.name for path in (two / "figures").iterdir()}
