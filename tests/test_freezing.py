"""A model rests while it is explained, by several threads, too; what a module keeps for evaluation mode alone is
neither carried into it nor out of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from timm.models.levit import Attention
from torch import nn

from protomask.explainable import Classifier
from protomask.freezing import evaluating, frozen
from protomask.localizers import get_localizer


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


def meanwhile(enter, orders):
    """Let threads enter and leave in an order: ``"a"`` enters when it comes first, and leaves when it comes again."""
    with ThreadPoolExecutor(2) as pool:
        open_now = {}
        for name in orders:
            if name in open_now:
                pool.submit(open_now.pop(name).__exit__, None, None, None).result()
            else:
                open_now[name] = enter()
                pool.submit(open_now[name].__enter__).result()


@pytest.mark.parametrize("order", ["abab", "abba", "abacbc", "abcacb"])
def test_the_last_thread_to_leave_puts_back_what_the_first_one_found(order):
    layer = attention(True)
    layer.qkv.bn.eval()
    layer.proj.ln.linear.weight.requires_grad_(False)
    before = [module.training for module in layer.modules()], [each.requires_grad for each in layer.parameters()]
    for module in (layer, nn.Sequential(layer)):  # one holds more than the other
        wholes = iter([module, layer] * 3)
        meanwhile(lambda wholes=wholes: frozen(next(wholes)), order)
        assert before == (
            [each.training for each in layer.modules()],
            [each.requires_grad for each in layer.parameters()],
        )
        assert not layer.attention_bias_cache


def test_while_another_thread_is_there_a_model_rests():
    layer = attention(True)
    first, second = frozen(layer), frozen(layer)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not layer.training and not any(each.requires_grad for each in layer.parameters())
    second.__exit__(None, None, None)
    assert layer.training and all(each.requires_grad for each in layer.parameters())


def test_within_one_thread_each_puts_back_what_it_found():
    layer = attention(False)
    with frozen(layer):
        layer.proj.training = True
        with frozen(layer):
            assert not layer.proj.training
        assert layer.proj.training
    assert not layer.proj.training


@pytest.mark.parametrize("localizer", ["gradcam", "chefer"])
def test_several_threads_explain_one_model(localizer):
    torch.manual_seed(0)
    name, sizes = ("test_vit", {"img_size": 32}) if localizer == "chefer" else ("test_resnet", {})
    model = timm.create_model(name, num_classes=3, **sizes)
    explained, images = Classifier(model.train()), torch.randn(12, 3, 32, 32)
    index = torch.arange(12) % 3
    explain = get_localizer(localizer)
    alone = [explain(explained, images[place : place + 1], index[place : place + 1]) for place in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda place: explain(explained, images[place : place + 1], index[place : place + 1]), range(12))
        )
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(alone, together))
    assert model.training and all(each.requires_grad for each in model.parameters())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
