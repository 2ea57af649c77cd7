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
    assert [stage.name for stage in plan] == ["joint", "projection", "settle", "projection", "last layer"]
    joint, settle = (stage for stage in plan if isinstance(stage, Epochs))
    assert (joint.epochs, settle.epochs) == (4, 4)
    assert "prototypes" in joint.rates and "prototypes" not in settle.rates
    assert all(settle.rates[name] < joint.rates[name] for name in settle.rates)


def test_too_few_epochs_to_settle():
    assert [stage.name for stage in _plan(epochs=1)] == ["joint", "projection", "last layer"]
