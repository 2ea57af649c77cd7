"""What a module keeps for evaluation mode alone is neither carried into it nor out of it."""

import pytest
import torch
from timm.models.levit import Attention
from torch import nn

from protomask.freezing import evaluating, frozen


def attention(training):
    torch.manual_seed(0)
    layer = Attention(8, 4, num_heads=2, resolution=(2, 2))
    layer.train(training)  # which gives nothing back
    return layer


def test_a_pass_in_evaluation_mode_within_each_step_of_a_training():
    layer, images = attention(True), torch.randn(3, 4, 8)
    norm = layer.qkv.bn.eval()  # fixed statistics stay fixed
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        loss = layer(images).sum()
        with evaluating(list(layer.modules())):
            loss = loss + layer(images).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert layer.training and not norm.training


def test_what_was_learned_is_seen():
    layer, images = attention(True), torch.randn(3, 4, 8)
    nn.init.normal_(layer.proj.ln.bn.weight)
    with torch.no_grad(), frozen(layer):
        before = layer(images)
    with torch.no_grad():
        layer.attention_biases += 3 * torch.randn_like(layer.attention_biases)
    with torch.no_grad(), frozen(layer):
        after = layer(images)
    assert not torch.equal(before, after)
    with torch.no_grad():
        layer.eval()
        assert torch.equal(after, layer(images))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_an_earlier_pass_of_the_user_s_does_no_harm(mode):
    layer = attention(False)
    with mode():
        layer(torch.randn(1, 4, 8))
    images = torch.randn(3, 4, 8, requires_grad=True)
    with frozen(layer):
        for _ in range(2):
            layer(images).sum().backward()


def test_what_others_call_a_cache_stays():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table_cache = {"a": torch.ones(1)}

        def train(self, mode=True):
            return super().train(mode)

    table = Table()
    with frozen(table):
        assert table.table_cache == {"a": torch.ones(1)}
    assert table.table_cache == {"a": torch.ones(1)}
