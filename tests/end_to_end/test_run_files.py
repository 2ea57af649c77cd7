"""The break-in matrix: every file of a run, damaged in every way, under every command.

Each case ends with exit code 2 and one line that names the file, or with the very result of the undamaged run.
"""

import io
import json
import os
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from protomask.cli import main
from protomask.run_folder import RunFolder
from tests.end_to_end.conftest import CHEAP
from tests.support.alarm import at_most

SECONDS = 300
"""after which a command counts as hanging"""
COMMANDS = {
    **CHEAP,
    "explain": ["explain", "{run}", "{image}", "--localizer", "center", "--json", "--output", "{out}"],
    "prune": ["prune", "{run}", "--prototypes", "0", "--output", "{out}"],
    "resume": ["train", "--output", "{run}", "--resume"],
}
FILES = [
    "config.json",
    "model.json",
    "model.safetensors",
    "metrics.json",
    "log.jsonl",
    "prototypes.json",
    "inspection.json",
    "evaluation.json",
    "prototypes/maps.npz",
    "prototypes/nearest.npz",
    "prototypes/0001.png",
    "prototypes/files.json",
    "checkpoint/state.pt",
    "checkpoint/black_box.pt",
    "evaluation/*/center-*/maps/*",
    "evaluation/*/center-*/values-*/*",
    ".lock",
]


def other_shape(path: Path) -> None:
    """Readable, but not what it should be."""
    if path.suffix in (".json", ".jsonl"):
        path.write_text('[{"stage": 3, "prototype": "x"}, [], null]\n')
    elif path.suffix == ".safetensors":
        path.write_bytes(save({"prototypes": torch.zeros(3, 2), "maps": torch.ones(2)}))
    elif path.suffix == ".npz":
        np.savez(path, similarity=np.zeros((2, 3), np.uint8), center=np.zeros(4))
    elif path.suffix == ".png":
        Image.new("RGB", (5, 7)).save(path)
    elif path.suffix == ".pt":
        torch.save({"plan": 3, "network": []}, path)
    else:
        path.write_bytes(b"\0" * 99)


def flip(share: float):
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[min(len(content) - 1, int(share * len(content)))] ^= 4
        path.write_bytes(bytes(content))

    return change


def replaced(make):
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def moved(path: Path) -> None:
    """A link to the very file is as good as the file."""
    target = path.parent / f"moved-{path.name}.bin"
    os.rename(path, target)
    path.symlink_to(target)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped at the start": flip(0.02),
    "flipped": flip(0.5),
    "flipped at the end": flip(0.97),
    "of another shape": other_shape,
    "emptied": lambda path: path.write_text("{}"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "with NaN": lambda path: path.write_text('{"options": {}, "test_accuracy": {"final": NaN}}'),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(os.mkfifo),
    "a device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "a loop": replaced(lambda path: path.symlink_to(path)),
    "a link to nowhere": replaced(lambda path: path.symlink_to("nowhere")),
    "a link": moved,
    "missing": lambda path: path.unlink(),
}
SAMPLE = [
    ("config.json", "a pipe", "explain"),
    ("model.json", "flipped", "explain"),
    ("model.safetensors", "flipped", "explain"),
    ("metrics.json", "flipped at the end", "report"),
    ("metrics.json", "emptied", "report"),
    ("log.jsonl", "of another shape", "report"),
    ("prototypes.json", "deep", "explain"),
    ("inspection.json", "a folder", "report"),
    ("evaluation.json", "a loop", "report"),
    ("prototypes/maps.npz", "flipped", "explain"),
    ("prototypes/nearest.npz", "of another shape", "report"),
    ("prototypes/0001.png", "a device", "explain"),
    ("checkpoint/state.pt", "flipped", "resume"),
    ("prototypes.json", "truncated", "resume"),
    ("prototypes/0001.png", "a pipe", "report"),
    ("prototypes/0001.png", "of another shape", "report"),
    ("prototypes/files.json", "truncated", "explain"),
    ("prototypes/files.json", "missing", "report"),
    ("log.jsonl", "empty", "report"),
    ("inspection.json", "missing", "report"),
    ("evaluation/*/center-*/maps/*", "flipped", "evaluate"),
    (".lock", "a link", "evaluate"),
]


@pytest.fixture(scope="module")
def pictures(folder):
    return folder


@pytest.fixture(scope="module")
def expected(cheap, pictures, tmp_path_factory):
    found = {}

    def of(command: str):
        if command not in found:
            found[command] = outcome(cheap, command, pictures, tmp_path_factory.mktemp("sound"), lambda run: None)
            assert found[command][0] == 0, found[command]
        return found[command]

    return of


def outcome(cheap: RunFolder, command: str, pictures: Path, folder: Path, damage) -> tuple[int, object, str]:
    """The exit code, the figures that a command made, and what it said on standard error."""
    run = RunFolder(folder / "run")
    shutil.copytree(cheap.folder, run.folder, symlinks=True)
    damage(run)
    image = next(iter(sorted((pictures / "test").rglob("*.png"))))
    words = [word.format(run=run.folder, image=image, out=folder / "out") for word in COMMANDS[command]]
    out, err = io.StringIO(), io.StringIO()
    with at_most(SECONDS), redirect_stdout(out), redirect_stderr(err):
        code = main([*words, "--quiet"])
    return code, figures(command, run, folder, out.getvalue()) if code == 0 else None, err.getvalue()


def figures(command: str, run: RunFolder, folder: Path, said: str) -> object:
    if command == "project":
        with np.load(run / "prototypes" / "maps.npz") as maps:
            return (
                run.read("prototypes.json"),
                run.read("inspection.json"),
                {name: maps[name].tobytes() for name in maps},
            )
    if command == "explain":
        return [json.loads(line) for line in said.splitlines()]
    if command == "evaluate":
        rows = run.read("evaluation.json")
        return rows["values"], [{**row, "seconds_per_map": 0} for row in rows["rows"]], rows["names"]
    if command == "report":
        page = (run / "report.html").read_text()
        return re.sub(re.escape(str(folder)), "", page)
    if command == "prune":
        new = RunFolder(folder / "out")
        metrics = new.read("metrics.json")
        for outcome in (metrics["pruned"], *(step["pruned"] for step in metrics["steps"])):
            outcome.pop("from")
        return {name: value for name, value in metrics.items() if name != "seconds"}, new.read("prototypes.json")
    metrics = run.read("metrics.json")
    # Pictures that are made anew are those of the run's own localizer, whose boxes and share outside are others.
    if "reasoning" in metrics:
        metrics["reasoning"].pop("background")
    rows = [{**row, "boxes": None, "levels": None} for row in run.read("prototypes.json")]
    return {name: value for name, value in metrics.items() if name != "seconds"}, rows


def judge(case: tuple, found: tuple, right: tuple) -> str | None:
    """What is wrong with an outcome; None if nothing is."""
    name, damage, command = case
    code, content, said = found
    lines = said.strip().splitlines()
    if code == 2:
        named = lines and lines[-1].startswith("protomask: error: ") and Path(name).name.replace("*", "") in lines[-1]
        return None if named and "Traceback" not in said else f"does not name the file: {said[-300:]}"
    if code != 0:
        return f"exit code {code}: {said[-300:]}"
    if content == right[1]:
        return None
    if damage == "missing" and name in ("metrics.json", "log.jsonl", "inspection.json", "evaluation.json") + (
        "prototypes/nearest.npz",
    ):
        return None  # these parts may not have been made yet: whatever needs them leaves them out
    return "another result, and nothing said"


def run_case(case, cheap, pictures, expected, folder) -> str | None:
    name, damage, command = case

    def harm(run: RunFolder) -> None:
        path = next(iter(sorted(run.folder.glob(name)))) if "*" in name else run / name
        if not path.exists():
            path.write_bytes(b"")
        DAMAGES[damage](path)

    try:
        return judge(case, outcome(cheap, command, pictures, folder, harm), expected(command))
    except Exception as error:  # a traceback, for the user
        return f"{type(error).__name__}: {error}"[:300]


@pytest.mark.parametrize("case", SAMPLE, ids=" ".join)
def test_a_sample_of_the_matrix(case, cheap, pictures, expected, tmp_path):
    assert run_case(case, cheap, pictures, expected, tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_whole_matrix(name, cheap, pictures, expected, tmp_path):
    wrong, count = {}, 0
    for damage in DAMAGES:
        for command in COMMANDS:
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            found = run_case((name, damage, command), cheap, pictures, expected, folder)
            shutil.rmtree(folder)
            if found:
                wrong[f"{name} {damage}, {command}"] = found
    print(f"{count} cases of {name}, {len(wrong)} wrong")
    assert not wrong, "\n".join(f"{case}: {found}" for case, found in wrong.items())
