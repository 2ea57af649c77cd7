"""check finds whatever train refuses, in the same words, and nothing hangs either of them."""

import shutil
from functools import partial
from pathlib import Path

import pytest

import protopnet.recipe
import xprotonet.recipe
from protomask.errors import InputError
from protomask.options import Options
from protomask.run import training
from protomask.run.checking import check_training
from tests.bad_input.kinds import KINDS
from tests.bad_input.more_kinds import MORE
from tests.support.alarm import at_most

SMALL = {
    "backbone": "test_resnet",
    "features": 8,
    "image_size": 32,
    "epochs": 1,
    "batch_size": 8,
    "prototypes_per_class": 1,
    "prototype_channels": 8,
    "samples": 2,
    "workers": 0,
    "device": "cpu",
}
SECONDS = 120  # a hundred times what any of them takes
DATA_KINDS = {name: kind for name, kind in KINDS.items() if kind[0] and not name.startswith(("a model", "a device"))}


def prepared(name, good, tmp_path):
    """The spoilt data set of a kind, and the options of a training on it."""
    data, spoil = (DATA_KINDS | MORE)[name]
    root = tmp_path / "a set"
    shutil.copytree(good / data, root) if data else root.mkdir()
    returned = spoil(root)
    words = returned if isinstance(returned, dict) else {}
    if isinstance(returned, list):  # the words of protomask check
        words = {"data": returned[1]} | ({"root": str(returned[3])} if len(returned) > 3 else {})
    given = {**SMALL, "data": data, "root": str(root), **words}
    return given, given.pop("output", str(tmp_path / "the run"))


def outcomes(given, output):
    """The message of train, or None, and the problems that check finds."""
    try:
        options = Options(**given)
    except InputError as error:  # both say so before they begin
        return str(error), [str(error)]
    before = sorted(Path.cwd().rglob("*"))
    with at_most(SECONDS):
        try:
            problems = check_training(options, output, threads=2).problems
        except InputError as error:
            problems = [" ".join(str(error).split())]
    assert sorted(Path.cwd().rglob("*")) == before  # it leaves nothing behind
    try:
        with at_most(SECONDS):
            training.train_run(options, output, progress=False)
    except InputError as error:
        return " ".join(str(error).split()), problems
    return None, problems


def _read_all(run, *others):
    for data in (run.setup.train, run.setup.validation, run.test):
        for position in range(len(data)):
            data[position]


@pytest.mark.parametrize("name", [*DATA_KINDS, *MORE])
def test_both_say_the_same(name, good, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_train", _read_all)
    monkeypatch.setattr(training, "_finish", lambda run, metrics: None)
    monkeypatch.chdir(tmp_path)
    message, problems = outcomes(*prepared(name, good, tmp_path))
    assert problems == [] if message is None else message in problems


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DATA_KINDS, *MORE])
def test_nothing_is_refused_after_the_beginning(name, good, tmp_path, monkeypatch):
    """As above, with the whole training; only the last layer sees its few images less often, and pictures are made by
    a localizer that costs nothing."""
    monkeypatch.setitem(SMALL, "localizer", "center")
    for recipe in (protopnet.recipe, xprotonet.recipe):
        monkeypatch.setattr(recipe, "fit_last_layer", partial(recipe.fit_last_layer, passes=1))
    monkeypatch.chdir(tmp_path)
    message, problems = outcomes(*prepared(name, good, tmp_path))
    assert problems == [] if message is None else message in problems


def test_no_batch_of_no_image_is_tried(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    problems = check_training(Options(**SMALL, data="folder", root=str(tmp_path))).problems
    assert any("no pictures" in line for line in problems) and not any("BatchNorm" in line for line in problems)
