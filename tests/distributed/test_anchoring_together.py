"""Prototypes are held near their source images by several processes, too."""

import json

import torch

from protomask import distributed
from protomask.training import passes, train
from tests.distributed.forks import all_done, together
from tests.training.test_anchoring import projected, settle, wander


def settled(folder):
    passes.LIMIT = 0.02
    net, setup = projected()
    with distributed.job(torch.device("cpu")):
        rows = train(net, settle(wander, 3), setup)
        # A number of each process's weights.
        sums = distributed.gather(sum(value.double().abs().sum().item() for value in net.state_dict().values()))
        if distributed.is_first():
            (folder / "found.json").write_text(json.dumps({"rows": rows, "sums": sums}))


def test_two_processes_hold_prototypes_and_stay_together(tmp_path):
    all_done(together(2, settled, tmp_path))
    found = json.loads((tmp_path / "found.json").read_text())
    assert ["anchor" in row for row in found["rows"]] == [False, True, True]
    assert found["rows"][0]["drift"] > 0.02
    assert abs(found["sums"][0] - found["sums"][1]) < 1e-9 * found["sums"][0]
