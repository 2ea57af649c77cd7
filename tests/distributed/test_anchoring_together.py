"""Prototypes are held near their source images by several processes, too."""

import json

from tests.distributed.jobs import torchrun

SETTLING = """
import json, sys, torch
from pathlib import Path
from protomask import distributed
from protomask.training import passes, train
from tests.training.test_anchoring import projected, settle, wander

passes.LIMIT = 0.02
net, setup = projected()
with distributed.job(torch.device("cpu")):
    rows = train(net, settle(wander, 3), setup)
    # A number of each process's weights.
    sums = distributed.gather(sum(value.double().abs().sum().item() for value in net.state_dict().values()))
    if distributed.is_first():
        Path(sys.argv[1], "found.json").write_text(json.dumps({"rows": rows, "sums": sums}))
"""


def test_two_processes_hold_prototypes_and_stay_together(tmp_path):
    script = tmp_path / "settling.py"
    script.write_text(SETTLING)
    done = torchrun(2, [str(script), str(tmp_path)])
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert ["anchor" in row for row in found["rows"]] == [False, True, True]
    assert found["rows"][0]["drift"] > 0.02
    assert abs(found["sums"][0] - found["sums"][1]) < 1e-9 * found["sums"][0]
