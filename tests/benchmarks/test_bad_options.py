"""Scripts of benchmarks/ say in one line what cannot be, and label what they measured by what it is."""

import argparse
import math

import pytest
import torch

from protomask.errors import InputError
from tests.support.scripts import benchmark


@pytest.fixture
def script(request):
    """One script as a module, by its name."""

    def opened(name):
        context = benchmark(request.config.rootpath, name)
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        return context.__enter__()

    return opened


@pytest.mark.parametrize(
    "name, words, named",
    [
        ("projection", ["--classes", "0"], "--classes is 0; give at least 1"),
        ("projection", ["--prototypes", "25", "--classes", "10"], "--prototypes 25 is no multiple of --classes 10"),
        ("projection", ["--device", "abacus"], "abacus"),
        ("projection", ["--backbone", "no_such", "--images", "2"], "no_such"),
        ("training", ["--pairs", "0"], "--pairs is 0; give at least 1"),
        ("training", ["--backbone", "no_such"], "no_such"),
        ("distributed", ["--processes", "1"], "--processes is 1; give at least 2"),
        ("distributed", ["--device", "abacus"], "abacus"),
        ("last_layer", ["--steps", "0"], "--steps is 0"),
        ("names", ["--workers", "0"], "--workers is 0"),
        ("distill", ["--root", "x", "--images", "0"], "--images is 0"),
        ("distill", ["--root", "x", "--batch-size", "0"], "--batch-size is 0"),
        ("teaching", ["x", "--forget", "0"], "--forget is 0"),
        (
            "few_images",
            ["--root", "x", "--backbone", "x", "--weights", "x", "--per-class", "5,-1"],
            "--per-class is '5,-1'; give whole numbers of at least 0",
        ),
    ],
)
def test_bad_options_end_in_one_line(script, capsys, name, words, named):
    assert script(name).main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(name) and named in line


def test_a_measurement_that_fails_in_its_processes_ends_in_one_line(script, capsys, monkeypatch):
    module = script("distributed")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: argparse.Namespace(returncode=2))
    assert module.main(["--device", "cpu"]) == 2
    assert "the job of 1 process failed (2); mend what it says above" in capsys.readouterr().err


def test_distill_offers_no_option_that_it_would_ignore(script, capsys):
    with pytest.raises(SystemExit):
        script("distill").main(["--help"])
    told = capsys.readouterr().out
    assert "--split" not in told and "--methods" not in told.split("options:")[1] and "(all)" in told


def test_rows_of_few_images_say_where_a_class_has_fewer(script):
    module = script("few_images")
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    assert labels[module.choose(labels, 2, 0)].tolist() == [0, 0, 1, 2, 2]
    sizes = module.of_each_class(labels[module.choose(labels, 2, 0)], 3)
    assert sizes.tolist() == [2, 1, 2] and module.asked(2, sizes) == "2 (fewer in 1 of 3 classes, 1 at least)"
    assert module.asked(1, sizes) == "1" and module.asked(0, sizes) == "all"
    findings = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert module.of_each_class(findings, 2).tolist() == [2, 1]
    with pytest.raises(InputError, match="have no class each; give 0"):
        module.choose(findings, 1, 0)


def test_successors_are_counted_by_the_new_runs_own_numbers(script):
    module = script("teaching")
    # Prototypes 1 and 2 were forgotten; 1 is replaced by the new 3, so that the old 3 and 4 moved up.
    pairs = [
        {"before": 1, "after": [3], "why": "forgotten"},
        {"before": 2, "after": [], "why": "forgotten"},
        {"before": 0, "after": [0, 4], "why": "split"},
    ]
    assert module.successors(pairs, [1, 2]) == [3] and module.successors(pairs, [2]) == []
    assert module.shares_line("all", [0.25, 0.75, 1.0, 0.0], [0.2, 0.6]) == (
        "beside the object, all: 50.0% -> 40.0%; more than half beside it: 2 of 4 -> 1 of 2"
    )
    gone = module.shares_line("the forgotten", [0.75, 0.25], [], removed=True)
    assert gone == "beside the object, the forgotten: 50.0% -> removed; more than half beside it: 1 of 2"


def test_what_no_interval_is_known_of_is_a_dash(script):
    row = {"detected": 0.5, "detected_interval": (math.nan, math.nan), "energy": 0.25, "energy_interval": (0.1, 0.4)}
    module = script("shortcut")
    assert module._cell(row, "detected") == "0.50 [-, -]" and module._cell(row, "energy") == "0.25 [0.10, 0.40]"
