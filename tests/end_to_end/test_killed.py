"""kill -9 at any moment: what is resumed ends as what was never interrupted, to the bit."""

import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from protomask.run_folder import RunFolder
from tests.distributed.jobs import child_environment, kill_group
from tests.end_to_end.conftest import SMALL

# A checkpoint after every step, and localizers that cost nothing: most of the time is then spent where something is
# written.
WORDS = [*SMALL, "--checkpoint-minutes", "0", "--localizer", "center", "--samples", "2"]


class Starter:
    """Commands that run, and are killed, in processes of their own."""

    def __init__(self, process: subprocess.Popen, folder: Path, said: Path) -> None:
        self.process, self.folder, self.said = process, folder, said

    def run(self, output: Path, *more: str, kill_after: float | None = None) -> int:
        words = ["train", "--data", "folder", "--root", str(self.folder), "--output", str(output), *WORDS, *more]
        watchdog = threading.Timer(600, kill_group, [self.process])
        watchdog.start()
        try:
            self.process.stdin.write(json.dumps([words, kill_after]) + "\n")
            self.process.stdin.flush()
            return int(self.process.stdout.readline())
        finally:
            watchdog.cancel()
            watchdog.join()


@contextmanager
def starting(folder: Path, temporary: Path):
    said = temporary / "said.txt"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("starter.py")), str(said)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=child_environment(),
    )
    try:
        assert process.stdout.readline().strip() == "ready"
        yield Starter(process, folder, said)
    finally:
        kill_group(process)
        process.stdin.close()
        process.stdout.close()


def digest(run: RunFolder) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def without_seconds(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def assert_same(run: RunFolder, reference: RunFolder) -> None:
    assert digest(run) == digest(reference)
    found, expected = (other.read("metrics.json") for other in (run, reference))
    assert without_seconds(found) == without_seconds(expected) and found["seconds"].keys() == expected["seconds"].keys()
    assert run.read("prototypes.json") == reference.read("prototypes.json")
    for rows in zip(run.read("evaluation.json")["rows"], reference.read("evaluation.json")["rows"], strict=True):
        first, second = ({name: value for name, value in row.items() if "seconds" not in name} for row in rows)
        assert first == second
    logs = [[{**row, "seconds": 0} for row in other.read("log.jsonl")] for other in (run, reference)]
    assert logs[0] == logs[1]
    assert (run / "report.html").stat().st_size > 0
    assert not list(run.folder.rglob("*.part"))


def place(run: RunFolder) -> str:
    """How far a killed run had come."""
    if not run.started:
        return "before the start"
    if not (run / "log.jsonl").exists():
        return "first epoch"
    if not (run / "model.safetensors").exists():
        return "after " + run.read("log.jsonl")[-1]["stage"]
    return "after the training" if (run / "metrics.json").exists() else "at the end of the training"


def kill_and_resume(
    starter: Starter, output: Path, seconds: float, kills: int, chance: random.Random
) -> list[tuple[float, str]]:
    """Runs to the end, but kills it up to ``kills`` times on the way. Returns the moments that hit, and how far the run
    was."""
    hits = []
    while True:
        moment = chance.uniform(0, seconds) if len(hits) < kills else None
        resume = ["--resume"] if RunFolder(output).started else []
        code = starter.run(output, *resume, kill_after=moment)
        if code == 0:
            return hits
        assert code == -9, (code, hits, starter.said.read_text())
        hits.append((moment, place(RunFolder(output))))


def reference_run(starter: Starter, output: Path, *more: str) -> tuple[RunFolder, float]:
    begin = time.monotonic()
    assert starter.run(output, *more) == 0, starter.said.read_text()
    return RunFolder(output), time.monotonic() - begin


def test_three_kills_and_the_same_weights(folder, tmp_path):
    with starting(folder, tmp_path) as starter:
        reference, seconds = reference_run(starter, tmp_path / "reference")
        hits, chance = [], random.Random()
        for number in range(9):
            if len(hits) >= 3:
                break
            output = tmp_path / f"killed{number}"
            new = kill_and_resume(starter, output, seconds, 3 - len(hits), chance)
            assert_same(RunFolder(output), reference)
            hits += new
            seconds *= 1 if new else 0.7  # the reference may have had a busier machine
        assert len(hits) >= 3, hits


@pytest.mark.slow
def test_twenty_kills_over_all_stages(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WORDS", [*WORDS, "--black-box"])
    with starting(folder, tmp_path) as starter:
        reference, seconds = reference_run(starter, tmp_path / "reference")
        hits, chance = [], random.Random()
        for number in range(60):
            output = tmp_path / f"killed{number}"
            hits += kill_and_resume(starter, output, seconds, 4, chance)
            assert_same(RunFolder(output), reference)
            if len(hits) >= 20 and len({where for _, where in hits}) >= 3:
                break
        print(f"{len(hits)} kills in a run of {seconds:.1f} s: {hits}")
        assert len(hits) >= 20 and len({where for _, where in hits}) >= 3, hits
