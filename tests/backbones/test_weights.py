"""Weights that fit in two ways, or are no numbers, are errors."""

import pytest
import torch
from torch import nn

from protomask.backbones.weights import fit_weights, not_finite
from protomask.errors import InputError


def _body(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def _load(state):
    body = _body(9)
    fit_weights(body, state, (), "weights x.pth do not fit toy", "give others")
    return body.state_dict()


def _under(prefix, seed):
    return {prefix + name: tensor for name, tensor in _body(seed).state_dict().items()}


@pytest.mark.parametrize("one, other", [("student.", "teacher."), ("model.", "model_ema."), ("", "ema.")])
def test_two_prefixes_that_fit_equally_well_are_named(one, other):
    with pytest.raises(InputError) as caught:
        _load(_under(one, 0) | _under(other, 1))
    message = str(caught.value)
    assert all((f"{prefix}*" if prefix else "names without a prefix") in message for prefix in (one, other))
    assert "x.pth" in message and "fit equally well" in message


def test_two_prefixes_with_the_same_tensors_are_one():
    loaded = _load(_under("a.", 3) | _under("b.", 3))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in _body(3).state_dict().items())


def test_the_prefix_that_fits_better_is_taken():
    worse = dict(list(_under("b.", 4).items())[:-1])
    loaded = _load(_under("a.", 3) | worse)
    assert torch.equal(loaded["2.bias"], _body(3).state_dict()["2.bias"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value):
    state = _under("module.", 0)
    state["module.0.weight"].view(-1)[5] = value
    with pytest.raises(InputError, match=r"x\.pth.*1 with NaN or infinite values: 0\.weight; their training diverged"):
        _load(state)


def test_infinite_masks_in_buffers_are_fine():
    body = nn.Module()
    body.register_buffer("mask", torch.full((2, 2), float("-inf")))
    assert not_finite(body.state_dict(), body) == []
    assert not_finite({"mask": torch.tensor([float("nan")])}, body) == ["mask"]
