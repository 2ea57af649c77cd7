"""The scripts of docs/python.md: from a data set to a report in at most twelve lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.conftest import write_image_folder

ROOT = Path(__file__).parents[2]
SCRIPTS = (ROOT / "docs" / "python.md").read_text(encoding="utf-8").split("```python\n")[1:]
RUNS = ["folder", "tensors"]
"""the folders under runs/ that the scripts name, one each"""


def test_every_script_of_the_page_is_run():
    assert len(SCRIPTS) == len(RUNS)


@pytest.mark.parametrize(("number", "run"), [(0, "folder"), pytest.param(1, "tensors", marks=pytest.mark.slow)])
def test_a_script_of_twelve_lines_does_everything(number, run, tmp_path):
    script = SCRIPTS[number].split("```")[0]
    assert sum(bool(line.strip()) for line in script.splitlines()) <= 12
    write_image_folder(tmp_path / "PICTURES", per_class=8)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "looks like prototype" in done.stdout and "deletion" in done.stdout and "similarity" in done.stdout
    assert (tmp_path / "runs" / run / "report.html").stat().st_size > 50_000
    assert len(list((tmp_path / "explained").glob("*.png"))) == (1 if run == "folder" else 0)
