"""benchmarks/transformer.py: trains, measures what the scenes know, and goes on."""

import argparse
import importlib

import pytest

from protomask.data.parts import load_parts

METHODS = ["--methods", "mdm:keep.steps=1,order.steps=0,chefer", "--metrics", "insertion,causal_overlap"]
WORDS = [*["--train-per-class", "2", "--test-per-class", "1", "--epochs", "1", "--images", "2"], *METHODS]


@pytest.fixture
def script(monkeypatch, request):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    return importlib.import_module("transformer")


def test_a_transformer_is_trained_and_explained(script, tmp_path, capsys):
    words = [*WORDS, "--model", f"{script.MODEL},depth=2", "--image-size", "48", "--output", str(tmp_path)]
    assert script.main(words) == 0
    first = capsys.readouterr().out
    assert "accuracy on 10 test images" in first and "causal_overlap" in first and "chefer" in first
    (kept,) = tmp_path.glob("training-*[0-9a-f].pt")
    before = kept.stat().st_mtime_ns
    assert script.main(words) == 0
    assert kept.stat().st_mtime_ns == before  # nothing was trained again
    again = capsys.readouterr().out
    assert _without_seconds(again) == _without_seconds(first)


def test_other_options_never_go_on_with_another_training(script):
    names = set()
    scenes = {
        seed: load_parts(train_per_class=2, test_per_class=1, classes=2, image_size=32, seed=seed, cache=False).train
        for seed in (0, 1)
    }
    for name, value, seed in (
        ("seed", 0, 0),
        ("seed", 1, 0),
        ("train_per_class", 3, 0),
        ("model", "other", 0),
        ("image_size", 48, 0),
        ("epochs", 2, 0),
        ("seed", 0, 1),
    ):
        chosen = {"model": "vit", "image_size": 32, "epochs": 1, "train_per_class": 2, "seed": 0, name: value}
        names.add(script.kind_of_training(argparse.Namespace(**chosen, images=2), scenes[seed]))
    assert len(names) == 7


@pytest.mark.parametrize(
    "more, named",
    [
        (["--methods", "grad-cam-x"], "grad-cam-x"),
        (["--metrics", "insertion,causal"], "--metrics: 'causal' is unknown"),
        (["--images", "0"], "--images is 0; give at least 1"),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_trained(script, tmp_path, capsys, more, named):
    assert script.main([*more, "--output", str(tmp_path / "out")]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "out").exists()


def _without_seconds(text: str) -> list[str]:
    return [line for line in text.splitlines() if "seconds" not in line]
