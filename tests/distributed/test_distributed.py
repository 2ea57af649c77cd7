"""Two processes share work and results; one process is the plain case."""

import json

import pytest
import torch

from protomask import distributed
from tests.distributed.forks import together
from tests.distributed.jobs import torchrun

SHARING = """
import json, sys, torch
from pathlib import Path
from protomask import distributed
assert not distributed.active() and distributed.size() == 1
with distributed.job(torch.device("cpu")) as device:
    rank = distributed.rank()
    rows = torch.full((3 - 2 * rank, 2), float(rank))
    found = {
        "first": distributed.is_first(), "size": distributed.size(), "device": str(device),
        "shard": list(distributed.shard(7)), "multiple": list(distributed.shard(7, 3)),
        "small": list(distributed.shard(1)),
        "gathered": distributed.gather({"rank": rank}), "rows": distributed.gather_rows(rows).tolist(),
        "empty": list(distributed.gather_rows(torch.zeros(0, 4)).shape),
        "written": distributed.only_first(
            lambda: ("by the first", distributed.size(), distributed.gather("nobody else"))
        ),
    }
    distributed.barrier()
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(found))
assert not distributed.active()
"""


def test_one_process_has_everything():
    assert not distributed.active() and distributed.is_first()
    assert (distributed.rank(), distributed.size()) == (0, 1)
    assert distributed.shard(5) == range(5) and distributed.shard(5, 2) == range(5) and distributed.shard(0) == range(0)
    assert distributed.gather("x") == ["x"] and distributed.only_first(lambda: 3) == 3
    rows = torch.rand(2, 3)
    assert distributed.gather_rows(rows) is rows
    with distributed.job(torch.device("cpu")) as device:
        assert device == torch.device("cpu") and not distributed.active()


@pytest.mark.parametrize(
    "count, multiple, processes", [(7, 1, 2), (7, 3, 2), (10, 4, 3), (1, 1, 4), (0, 5, 2), (100, 7, 8)]
)
def test_shards_partition_in_order_at_multiples(monkeypatch, count, multiple, processes):
    blocks = []
    monkeypatch.setattr(distributed, "size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        blocks.append(distributed.shard(count, multiple))
    assert [position for block in blocks for position in block] == list(range(count))
    assert all(block.start % multiple == 0 for block in blocks if len(block))
    full = [len(block) for block in blocks]
    assert max(full) - min(full) < 2 * multiple


def test_two_processes_share(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SHARING)
    done = torchrun(2, [str(script), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["first"] and not second["first"]
    assert first["shard"] + second["shard"] == list(range(7))
    assert (first["multiple"], second["multiple"]) == ([0, 1, 2], [3, 4, 5, 6])
    assert sorted(first["small"] + second["small"]) == [0]
    assert (first["written"], second["written"]) == (["by the first", 1, ["nobody else"]], None)
    for found in (first, second):
        assert found["size"] == 2 and found["device"] == "cpu"
        assert found["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert found["rows"] == [[0.0, 0.0]] * 3 + [[1.0, 1.0]] and found["empty"] == [0, 4]


def fail():
    raise ValueError("no space in the first process")


def failing():
    with distributed.job(torch.device("cpu")):
        try:
            distributed.only_first(fail)
        except distributed.PeerLost as error:
            print("LOST", error)


def test_a_failure_of_the_first_ends_the_others_at_once():
    first, second = together(2, failing)
    assert first.code != 0 and "ValueError: no space in the first process" in first.said
    assert "LOST process 1 of 2 stops" in second.said
