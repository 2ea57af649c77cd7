"""Two commands at once make two runs, or one run and one clear line; never half of each."""

import subprocess
import sys

import pytest
import torch

from protomask.networks import load_network
from protomask.run_folder import RunFolder
from tests.distributed.jobs import child_environment, kill_group
from tests.end_to_end.conftest import copied
from tests.protopnet.official_files import Plain

SECONDS = 300
pytestmark = pytest.mark.slow


def at_once(commands):
    """(exit code, standard error) of each, all started before any of them ends."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "protomask", *map(str, words), "--quiet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=child_environment(),
        )
        for words in commands
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            kill_group(process)
    return [(process.returncode, text) for process, text in zip(processes, said)]


def judge(outcomes, expected_done):
    """So many are done; the others say in one line who is at work, or that the folder is taken."""
    assert sum(code == 0 for code, _ in outcomes) == expected_done, outcomes
    for code, text in outcomes:
        assert code in (0, 2) and "Traceback" not in text, text
        if code == 2:
            line = text.strip().splitlines()[-1]
            assert line.startswith("protomask: error: "), text
            assert "is at work in" in line or "exists already" in line or "holds a run already" in line, line


@pytest.fixture
def own(run, tmp_path):
    return copied(run, tmp_path / "runs" / "run")


def test_two_prunes_make_two_runs(own):
    words = [["prune", own.folder, "--prototypes", str(number)] for number in (0, 1)]
    judge(at_once(words), 2)
    found = sorted(path.name for path in own.folder.parent.iterdir())
    assert found == ["run", "run-pruned", "run-pruned-2"]
    removed = []
    for name in found[1:]:
        new = RunFolder(own.folder.parent / name)
        removed += new.read("metrics.json")["pruned"]["removed"]
        assert load_network(new.folder).prototype_count == 5 == len(new.read("prototypes.json"))
        assert (new / "report.html").stat().st_size > 0
    assert sorted(removed) == [0, 1]


def test_two_prunes_into_one_folder_make_one_run(own):
    target = own.folder.parent / "new"
    judge(at_once([["prune", own.folder, "--prototypes", str(number), "--output", target] for number in (0, 1)]), 1)
    new = RunFolder(target)
    assert len(new.read("metrics.json")["pruned"]["removed"]) == 1 and len(new.read("prototypes.json")) == 5
    assert not list(target.rglob("*.part"))


def test_two_imports_into_one_folder_make_one_run(folder, tmp_path):
    files = []
    for number in (1, 2):
        torch.manual_seed(number)
        files.append(tmp_path / f"{number}.pth")
        torch.save(Plain(patch=1).state_dict(), files[-1])
    target = tmp_path / "official"
    machine = ["--image-size", "64", "--batch-size", "8", "--workers", "0", "--data", "folder", "--root", folder]
    judge(at_once([["import-official", file, "--output", target, *machine] for file in files]), 1)
    name = RunFolder(target).read("config.json")["imported"]["file"]
    vectors = torch.load(tmp_path / name, weights_only=True)["prototype_vectors"]
    assert torch.equal(load_network(target).prototypes.detach(), vectors)
    assert not list(target.rglob("*.part"))


def test_two_reports_of_one_run_leave_a_whole_page(own):
    judge_one = at_once([["report", own.folder, "--explained", "1"], ["project", own.folder, "--localizer", "center"]])
    assert {code for code, _ in judge_one} <= {0, 2} and 0 in {code for code, _ in judge_one}
    assert len(own.read("prototypes.json")) == 6 and (own / "report.html").read_text().rstrip().endswith("</html>")
