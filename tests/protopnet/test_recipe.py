"""The default recipe's plan."""

from __future__ import annotations

import torch

from protomask.options import Options
from protomask.training import Epochs
from protopnet import recipe


def _plan(**changes):
    options = Options(backbone="test_resnet", image_size=64, **changes)
    filled = {name: value for name, value in recipe.defaults(options).items() if getattr(options, name) is None}
    options = options.replace(**filled)
    torch.manual_seed(0)
    return recipe.stages(recipe.build(options, ("a", "b")), options)


def test_prototypes_rest_on_their_patches_in_the_second_half():
    plan = _plan(epochs=8)
    replaced = ["joint", "replacement"] * 4
    assert [stage.name for stage in plan] == [*replaced, "projection", "settle", "projection", "last layer"]
    *joints, settle = (stage for stage in plan if isinstance(stage, Epochs))
    joint = joints[0]
    assert [each.epochs for each in joints] == [1] * 4 and settle.epochs == 4
    assert "prototypes" in joint.rates and "prototypes" not in settle.rates
    assert all(settle.rates[name] < joint.rates[name] for name in settle.rates)


def test_too_few_epochs_to_settle():
    assert [stage.name for stage in _plan(epochs=1)] == [
        "joint",
        "replacement",
        "projection",
        "last layer",
    ]


def test_evidence_is_positive_but_for_the_official_recipe():
    assert _plan_network().evidence == "positive"
    assert _plan_network(recipe="official", similarity="l2-log").evidence == "signed"
    assert _plan_network(evidence="signed").evidence == "signed"


def _plan_network(**changes):
    options = Options(backbone="test_resnet", image_size=64, **changes)
    filled = {name: value for name, value in recipe.defaults(options).items() if getattr(options, name) is None}
    return recipe.build(options.replace(**filled), ("a", "b"))
