"""An evaluation that two processes share is the one that one process makes."""

from protomask.evaluation import Evaluation, Oracle, choose_pairs, choose_prototype_pairs, evaluate
from tests.distributed.jobs import torchrun
from tests.evaluation.test_evaluate import Quadrants, TilesWithPoints

SHARED = """
import sys, torch
from pathlib import Path
from protomask import distributed
from tests.distributed.test_evaluation_together import evaluated

with distributed.job(torch.device("cpu")):
    found = evaluated(Path(sys.argv[1]) / "cache")
    assert found.values == distributed.gather(found.values)[0]          # every process has the whole
    distributed.only_first(lambda: found.save(Path(sys.argv[1]) / "evaluation.json"))
"""


def evaluated(cache):
    network, data = Quadrants(), TilesWithPoints()
    return evaluate(
        network,
        data,
        {"oracle": Oracle()},
        choose_pairs(network, data, 10),
        batch_size=3,
        cache=cache,
        metrics=["insertion", "iou_best", "purity"],
        prototype_pairs=choose_prototype_pairs(network, data, 40),
    )


def test_two_processes_evaluate_what_one_does(tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED, encoding="utf-8")
    done = torchrun(2, [str(script), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    together, alone = Evaluation.load(tmp_path / "evaluation.json"), evaluated(None)
    for field in ("names", "values", "prototype_values", "classes", "prototypes"):
        assert getattr(together, field) == getattr(alone, field), field
    # Either process found its part of the work in its own files; one process finds all of it.
    assert evaluated(tmp_path / "cache").values == alone.values
