"""The benchmark of the training loop: both loops do the same."""

import importlib
import json
import sys


def test_our_loop_and_a_bare_one_end_in_the_same_weights(monkeypatch, request, capsys):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    script = importlib.import_module("training")
    sys.modules.pop("training")
    assert (
        script.main(["--images", "8", "--batch-size", "4", "--image-size", "32", "--classes", "2", "--pairs", "1"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["same weights"] and found["processor ratio"] > 0
