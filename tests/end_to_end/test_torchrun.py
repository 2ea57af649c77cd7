"""The whole job in two processes: one is killed, the job ends, and one process alone goes on from its checkpoint."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protomask.cli import main
from protomask.run_folder import RunFolder
from tests.distributed.jobs import child_environment, kill_group
from tests.end_to_end.conftest import SMALL

EPOCHS = 16
"""so many that one process can be killed before the others are done"""


def second_process(launcher: int) -> int | None:
    """The process of rank 1 that torchrun started."""
    for number in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{number}/environ").read_bytes():
            return int(number)
    return None


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="finds the processes by Linux's /proc"
)
def test_a_killed_process_ends_the_job_and_one_goes_on(folder, tmp_path):
    output = tmp_path / "run"
    words = [
        "train",
        "--data",
        "folder",
        "--root",
        str(folder),
        "--output",
        str(output),
        *SMALL,
        "--localizer",
        "center",
        "--samples",
        "1",
        "--device",
        "cpu",
        "--checkpoint-minutes",
        "0",
    ]
    longer = [*words[: words.index("--epochs") + 1], str(EPOCHS), *words[words.index("--epochs") + 2 :]]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "protomask",
            *longer,
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=child_environment(),
    )
    try:
        deadline = time.monotonic() + 600
        while not (output / "log.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(second_process(process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=600)
    finally:
        kill_group(process)
    assert process.returncode != 0
    assert "SIGKILL" in errors or "exitcode  : -9" in errors, errors
    assert (
        "process 0 of 2 stops because another process of the job ended" in errors or "protomask: interrupted" in errors
    ), errors
    assert errors.count("protomask: run folder") == 1
    rows = len(RunFolder(output).read("log.jsonl"))
    assert not (output / "model.safetensors").exists() and rows < EPOCHS
    assert main([*longer, "--resume"]) == 0
    rows = RunFolder(output).read("log.jsonl")
    epochs = {name: [row["epoch"] for row in rows if row["stage"] == name] for name in ("joint", "settle")}
    assert sum(map(len, epochs.values())) == EPOCHS and all(
        found == list(range(1, len(found) + 1)) for found in epochs.values()
    )
    assert {"pictures", "evaluation", "report"} <= set(RunFolder(output).read("metrics.json")["seconds"])
