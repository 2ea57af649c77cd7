"""benchmarks/transformer.py: trains, measures what the scenes know, and goes on."""

import importlib

import pytest

METHODS = ["--methods", "mdm:keep.steps=1,order.steps=0,chefer", "--metrics", "insertion,causal_overlap"]
WORDS = [*["--train-per-class", "2", "--test-per-class", "1", "--epochs", "1", "--images", "2"], *METHODS]


@pytest.fixture
def script(monkeypatch, request):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    return importlib.import_module("transformer")


def test_a_transformer_is_trained_and_explained(script, tmp_path, capsys):
    words = [*WORDS, "--output", str(tmp_path)]
    assert script.main(words) == 0
    first = capsys.readouterr().out
    assert "accuracy on 10 test images" in first and "causal_overlap" in first and "chefer" in first
    assert (tmp_path / "training.pt").is_file()
    assert script.main(words) == 0
    again = capsys.readouterr().out
    assert _without_seconds(again) == _without_seconds(first)


def test_an_unknown_method_is_named_before_anything_is_trained(script, tmp_path, capsys):
    assert script.main(["--methods", "grad-cam-x", "--output", str(tmp_path / "out")]) == 2
    assert "grad-cam-x" in capsys.readouterr().err and not (tmp_path / "out").exists()


def _without_seconds(text: str) -> list[str]:
    return [line for line in text.splitlines() if "seconds" not in line]
