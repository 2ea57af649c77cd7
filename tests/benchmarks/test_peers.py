"""The documentation's table of an evaluation."""

import pytest
import torch

from protomask.errors import InputError
from protomask.evaluation import Evaluation, Pairs
from tests.support.scripts import benchmark


@pytest.fixture(scope="module")
def script(request):
    with benchmark(request.config.rootpath, "peers") as module:
        yield module


def test_marks_are_the_corrected_verdicts(script, tmp_path, capsys):
    noise = 0.1 * torch.randn(3, 30, generator=torch.Generator().manual_seed(0))
    values = {
        "mdm": {"insertion": 2 + noise[0], "deletion": 2 + noise[1]},
        "similarity": {"insertion": noise[1], "deletion": noise[2]},
        "center": {"insertion": noise[2], "deletion": noise[2] - 1},
    }
    pairs = Pairs(torch.arange(30), torch.zeros(30, dtype=torch.long))
    found = Evaluation.summarise(pairs, ["x"] * 30, values, {"mdm": 12.3, "similarity": 0.5, "center": 0.25})
    lines = script.table({"rows": found.rows, "comparisons": found.comparisons}, "similarity").splitlines()
    assert lines[0] == "| metric | similarity | mdm | center | n |"
    mean = {(row["localizer"], row["metric"]): f"{row['mean']:.3f}" for row in found.rows}
    assert lines[2] == (
        f"| `insertion` ↑ | {mean['similarity', 'insertion']} | {mean['mdm', 'insertion']} + | "
        f"{mean['center', 'insertion']} | 30 |"
    )
    assert f"{mean['mdm', 'deletion']} - | {mean['center', 'deletion']} + | 30" in lines[3]
    assert lines[4] == "| ahead / behind |  | 1 / 1 | 1 / 0 | |"
    assert lines[5] == "| seconds a map | 0.500 | 12.3 | 0.250 | |"
    with pytest.raises(InputError, match="'hdm' was not evaluated.*mdm, similarity, center"):
        script.table({"rows": found.rows, "comparisons": found.comparisons}, "hdm")
    assert script.main([str(tmp_path / "nothing")]) == 2 and "peers: error: " in capsys.readouterr().err
