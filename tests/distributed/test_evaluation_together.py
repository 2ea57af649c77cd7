"""An evaluation that two processes share is the one that one process makes."""

import torch

from protomask import distributed
from protomask.evaluation import Evaluation, Oracle, choose_pairs, choose_prototype_pairs, evaluate
from tests.distributed.forks import all_done, together
from tests.evaluation.test_evaluate import Quadrants, TilesWithPoints


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


def shared(folder):
    with distributed.job(torch.device("cpu")):
        found = evaluated(folder / "cache")
        assert found.values == distributed.gather(found.values)[0]  # every process has the whole
        distributed.only_first(lambda: found.save(folder / "evaluation.json"))


def test_two_processes_evaluate_what_one_does(tmp_path):
    all_done(together(2, shared, tmp_path))
    found, alone = Evaluation.load(tmp_path / "evaluation.json"), evaluated(None)
    for field in ("names", "values", "prototype_values", "classes", "prototypes"):
        assert getattr(found, field) == getattr(alone, field), field
    # Either process found its part of the work in its own files; one process finds all of it.
    assert evaluated(tmp_path / "cache").values == alone.values
