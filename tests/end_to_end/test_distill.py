"""``protomask distill``, and its localizer in the other commands."""

import copy
import json
import shutil
import warnings

import pytest
import torch

import protomask
from protomask.cli import main
from protomask.localizers.amortised.files import open_explainer
from protomask.run.explainers import same_features
from protomask.run.review import add_judgements
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet

FEW = ["--steps", "3", "--imitation", "2", "--maps", "3", "--batch-size", "4", "--quiet"]


@pytest.fixture(scope="module")
def distilled(run, tmp_path_factory):
    copy = tmp_path_factory.mktemp("distilled") / "run"
    shutil.copytree(run.folder, copy)
    assert main(["evaluate", str(copy), "--localizers", "distilled", "--quiet"]) == 2
    assert main(["distill", str(copy), *FEW]) == 0
    return copy


def test_the_run_has_a_localizer_of_its_own(distilled, capsys):
    assert main(["evaluate", str(distilled), "--localizers", "distilled,similarity", "--samples", "4", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "distilled" in table
    assert main(["project", str(distilled), "--localizer", "distilled:steps=1,check=false", "--quiet"]) == 0
    opened = protomask.open_run(distilled, progress=False)
    assert set(opened.pictures[0].maps) == {"distilled:steps=1,check=false", "similarity"}
    found = opened.explain(
        opened.splits.test.with_transform(None)[0]["image"], localizer="distilled:steps=1,check=false"
    )
    assert found[0].matches
    assert opened.report(explained=1).path.is_file()
    about = json.loads((distilled / "localizer.json").read_text())
    assert about["model"] and about["taps"][0] == "backbone" and str(distilled) not in json.dumps(about)


def test_what_is_of_the_explainer_before_is_named(distilled, tmp_path, capsys):
    shutil.copytree(distilled, tmp_path / "run")
    words = ["distill", str(tmp_path / "run"), *FEW]
    shown = ["--localizer", "distilled:steps=1,check=false", "--quiet"]
    assert main(["project", str(tmp_path / "run"), *shown]) == 0
    measured = ["--localizers", "distilled,similarity", "--samples", "4", "--quiet"]
    assert main(["evaluate", str(tmp_path / "run"), *measured]) == 0
    capsys.readouterr()
    assert main([*words[:-1], "--rate", "0.01"]) == 0
    said = capsys.readouterr().err
    assert "pictures of its prototypes are still of the explainer before" in said
    assert "--localizer distilled:steps=1,check=false" in said
    assert "evaluation is still of the explainer before" in said and "--localizers distilled,similarity" in said
    assert main([*words[:-1], "--rate", "0.01"]) == 0  # the same once more changes nothing
    assert "before" not in capsys.readouterr().err


def warnings_of(folder):
    """What the explainer in a run's folder says of itself when it is asked about the run's network."""
    run = protomask.open_run(folder, progress=False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        localizer = run.localizers("distilled:check=false")["distilled:check=false"]
        localizer(run.network, run.test[0]["image"][None], torch.tensor([0]))
    return [str(each.message) for each in found]


def test_a_pruned_or_refined_run_keeps_it(distilled):
    opened = protomask.open_run(distilled, progress=False)
    assert warnings_of(distilled) == []
    pruned = opened.prune([0], output=distilled.parent / "pruned")
    assert (
        pruned.localizers("distilled")["distilled"].opened().taps
        == opened.localizers("distilled")["distilled"].opened().taps
    )
    assert warnings_of(pruned.folder) == []
    judgements = [{"prototype": 1, "by": "RB", "verdict": "forget"}]
    review = add_judgements(distilled, judgements, [each.record for each in opened.pictures])
    assert warnings_of(opened.refine(review, output=distilled.parent / "refined", epochs=1).folder) == []


def test_a_pruned_run_of_other_weights_says_so_as_its_parent_does(distilled, tmp_path):
    shutil.copytree(distilled, tmp_path / "run")
    explainer = open_explainer(tmp_path / "run")
    explainer.model = "0123456789abcdef"
    explainer.save(tmp_path / "run")
    pruned = protomask.open_run(tmp_path / "run", progress=False).prune([0], output=tmp_path / "pruned")
    for folder in (tmp_path / "run", pruned.folder):
        (said,) = warnings_of(folder)
        assert "was distilled for other weights" in said


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
def test_features_are_the_same_whatever_prototypes_went(kind):
    torch.manual_seed(0)
    network = kind(ToyBackbone(), ["a", "b"], image_size=64, prototypes_per_class=3)
    fewer = copy.deepcopy(network)
    fewer.keep([0, 2, 4])
    torch.nn.init.normal_(fewer.last_layer.weight)
    assert same_features(network, fewer)
    for name, value in fewer.state_dict().items():
        if value.is_floating_point() and name not in ("prototypes", "last_layer.weight"):
            kept = value.clone()
            value[(0,) * value.dim()] += 1
            assert not same_features(network, fewer), name
            value.copy_(kept)


@pytest.mark.parametrize("words, says", [(["--steps", "-1"], "--steps is -1"), (["--teacher", "rise"], "is no MDM")])
def test_bad_words(distilled, words, says, capsys):
    assert main(["distill", str(distilled), *words, "--quiet"]) == 2
    assert says in capsys.readouterr().err
