"""Removing prototypes: what stays must be exactly what it was."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protomask.errors import InputError
from protomask.localizers import MDM, Similarity
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet

CLASSES = ("a", "b", "c")


def network(kind: str):
    torch.manual_seed(0)
    kinds = {
        "cosine": (ProtoPNet, {}),
        "l2-log": (ProtoPNet, {"similarity": "l2-log", "patch": 2}),
        "abs": (XProtoNet, {}),
        "sigmoid": (XProtoNet, {"activation": "sigmoid", "readout": "shifted"}),
    }
    made, options = kinds[kind]
    return made(ToyBackbone(), CLASSES, image_size=16, prototypes_per_class=3, channels=6, **options).eval()


@pytest.mark.parametrize("kind", ["cosine", "l2-log", "abs", "sigmoid"])
def test_kept_prototypes_speak_as_before_and_the_logits_lose_the_points_of_the_others(kind):
    net, images = network(kind), torch.rand(4, 3, 16, 16)
    net.source_positions.copy_(torch.arange(9) + 100)
    net.source_locations.copy_(torch.arange(18).view(9, 2))
    kept = torch.tensor([8, 0, 4, 5])
    order = kept.sort().values
    with torch.no_grad():
        before, maps = net(images), net.similarity_maps(images)
        weights = net.last_layer.weight.clone()
        net.keep(kept)
        after = net(images)
        torch.testing.assert_close(after.similarities, before.similarities[:, order])
        torch.testing.assert_close(net.similarity_maps(images), maps[:, order])
        torch.testing.assert_close(after.logits, before.similarities[:, order] @ weights[:, order].T)
        index = torch.tensor([0, 1, 2, 3])
        torch.testing.assert_close(net.score(images, index), before.similarities[torch.arange(4), order])
    assert net.prototype_count == 4 and net.prototype_classes.tolist() == [0, 1, 1, 2]
    assert net.source_positions.tolist() == [100, 104, 105, 108]
    assert net.source_locations.tolist() == [[0, 1], [8, 9], [10, 11], [16, 17]]
    assert net.last_layer(after.similarities).shape == (4, 3)
    assert net.prototypes.requires_grad and net.last_layer.weight.requires_grad


WRONG_NUMBERS = [
    (torch.tensor([0, 9]), "there is no prototype 9; the model has 9, numbered 0 to 8"),
    (torch.tensor([0, -1]), "there is no prototype -1"),
    ([0, 9], "there is no prototype 9"),
    (torch.tensor([1]), r"index is torch.int64 of shape \(1,\); give one integer per image, here \(2,\)"),
    (torch.tensor([[0, 1]]), "give one integer per image"),
    (torch.tensor([True, False]), "index is torch.bool"),
    (torch.tensor([0.0, 1.0]), "index is torch.float32"),
    (["a", "b"], "index .* is no list of integers"),
]


@pytest.mark.parametrize("kind", ["cosine", "l2-log", "abs", "sigmoid"])
@pytest.mark.parametrize(("index", "said"), WRONG_NUMBERS)
def test_a_prototype_that_there_is_not_is_no_other_one(kind, index, said):
    net, images = network(kind), torch.rand(2, 3, 16, 16)
    for ask in (net.score, net.similarity_maps, partial(Similarity(), net), partial(MDM(), net)):
        with pytest.raises(InputError, match=said):
            ask(images, index)


@pytest.mark.parametrize("kind", ["cosine", "abs"])
def test_numbers_of_prototypes_may_be_of_any_whole_type(kind):
    net, images = network(kind), torch.rand(2, 3, 16, 16)
    expected = net.score(images, torch.tensor([1, 0]))
    for index in (torch.tensor([1, 0], dtype=torch.uint8), torch.tensor([1, 0], dtype=torch.int32), [1, 0]):
        torch.testing.assert_close(net.score(images, index), expected, rtol=0, atol=0)
    torch.testing.assert_close(net.score(images, 1), net.score(images, torch.tensor([1, 1])), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["cosine", "l2-log", "abs", "sigmoid"])
def test_a_pruned_network_is_rebuilt_from_its_settings(kind):
    net, images = network(kind), torch.rand(2, 3, 16, 16)
    assert "prototype_classes" not in net.settings()
    net.keep([0, 3, 6, 7])
    settings = {**net.settings(), "prototype_classes": [0, 1, 2, 2]}
    assert settings == net.settings()
    settings.pop("backbone")
    again = type(net)(ToyBackbone(), settings.pop("classes"), **settings).eval()
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(images).logits, net(images).logits)
    assert again.own_class().tolist() == net.own_class().tolist()


@given(st.lists(st.integers(-3, 12), max_size=9))
@settings(max_examples=40, deadline=None)
def test_a_selection_is_kept_whole_or_refused_with_nothing_changed(index):
    net = network("abs")
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    good = all(0 <= each < 9 for each in index) and {each // 3 for each in index} == {0, 1, 2}
    if good:
        net.keep(index)
        assert net.prototype_count == len(set(index)) == len(net.prototypes) == net.occurrence[-1].out_channels
    else:
        with pytest.raises(InputError, match="prototype"):
            net.keep(index)
        assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_prototypes_are_named_by_numbers_not_by_a_mask():
    net = network("abs")
    for change in (net.keep, net.add_copies):
        for wrong in (torch.arange(9) % 3 == 0, [True, False] * 4, [0, 3, 6.5]):
            with pytest.raises(InputError, match="^index is .*; give .*numbers"):
                change(wrong)
    assert net.prototype_count == 9


def test_classes_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="0 to 2"):
        ProtoPNet(ToyBackbone(), CLASSES, image_size=16, prototype_classes=[0, 3])


@pytest.mark.parametrize("kind", ["cosine", "l2-log", "abs", "sigmoid"])
def test_copies_change_no_logit(kind):
    net, images = network(kind), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        before = net(images)
        net.add_copies([4, 1])
        after = net(images)
        torch.testing.assert_close(after.logits, before.logits)
        torch.testing.assert_close(after.similarities[:, 9:], before.similarities[:, [4, 1]])
        assert net.similarity_maps(images).shape[1] == 11
