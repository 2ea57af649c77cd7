"""Relevance propagation: it sums to the score, agrees with zennit's own composite, and leaves the model alone."""

import itertools

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

import protomask.localizers.relevance as relevance
from protomask.backbones import build_backbone
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import LRP, get_localizer
from protomask.localizers.base import min_max
from protopnet.model import ProtoPNet
from protopnet.relevance import distance_shares, dot_shares, place_patches
from tests.support.scores import Network, pairs
from tests.support.toy import ToyBackbone
from xprotonet.model import XProtoNet

pytest.importorskip("zennit")


def trained_looking(module):
    """Random statistics for the batch norms, so that folding them changes something."""
    generator = torch.Generator().manual_seed(1)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.1, generator=generator)
            each.running_var.uniform_(0.5, 1.5, generator=generator)
            each.weight.data.uniform_(0.5, 1.5, generator=generator)
            each.bias.data.normal_(0, 0.1, generator=generator)
    return module.eval()


def network(name, kind):
    torch.manual_seed(0)
    backbone = trained_looking(build_backbone(name))
    if kind == "xprotonet":
        return XProtoNet(
            backbone, ["a", "b"], image_size=64, prototypes_per_class=2, channels=8, readout="shifted"
        ).eval()
    patch = 2 if kind == "cosine" and name == "resnet10t" else 1
    return ProtoPNet(
        backbone, ["a", "b"], image_size=64, prototypes_per_class=2, channels=8, similarity=kind, patch=patch
    ).eval()


@pytest.mark.parametrize(
    "name, kind",
    [
        *itertools.product(["resnet10t", "mobilenetv2_035"], ["cosine", "l2-log", "xprotonet"]),
        ("torchvision/vgg11_bn", "l2-log"),
        *itertools.product(["densenet121:growth_rate=8"], ["cosine", "l2-log"]),
    ],
)
def test_relevance_of_a_prototype_sums_to_its_similarity(name, kind):
    explained = network(name, kind)
    images, index = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2)), torch.arange(4)
    shared = explained.similarity_shares(images, index)
    torch.testing.assert_close(shared.similarities, explained.score(images, index).detach())
    # Where XProtoNet's prototype occurs nowhere, a shifted similarity of 0.5 comes from nothing.
    total = shared.shares.sum((1, 2, 3))
    assert (total * shared.similarities > 0.01).sum() >= 1 and ((total < 1e-6) | ((total - 1).abs() < 1e-4)).all()
    found = LRP().relevance(explained, images, index)
    torch.testing.assert_close(found.sum((1, 2, 3)), shared.similarities * total, rtol=0.01, atol=1e-5)
    torch.testing.assert_close(LRP()(explained, images, index), min_max(found.sum(1).relu()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in explained.modules())


def test_agreement_with_zennits_composite_and_canonizer():
    """On torchvision's ResNet, for which zennit has a canonizer of its own."""
    from zennit.composites import SpecialFirstLayerMapComposite
    from zennit.layer import Sum
    from zennit.rules import AlphaBeta, Epsilon, Norm, Pass, ZBox
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Activation, AvgPool, Convolution, Linear

    torch.manual_seed(0)
    model, images = trained_looking(resnet18()), torch.randn(2, 3, 48, 48)
    explained = Classifier(model, "logit")
    index = model(images).argmax(1)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (explained.mean, explained.std))
    zero = {"zero_params": "bias", "stabilizer": 1e-9}
    composite = SpecialFirstLayerMapComposite(
        layer_map=[
            (Activation, Pass()),
            (Sum, Norm(1e-9)),
            (AvgPool, Norm(1e-9)),
            (Convolution, AlphaBeta(1, 0, **zero)),
            (Linear, Epsilon(1e-9)),
        ],
        first_map=[(Convolution, ZBox(-mean / std, (1 - mean) / std, **zero))],
        canonizers=[ResNetCanonizer()],
    )
    pixels = images.clone().requires_grad_()
    with composite.context(model) as modified:
        logits = modified(pixels)
        chosen = torch.zeros_like(logits).scatter(1, index[:, None], 1.0)
        (expected,) = torch.autograd.grad(logits, pixels, chosen * logits.detach())
    found = LRP().relevance(explained, images, index)
    # Zennit loses what a value without a positive term gets; here it is handed on.
    assert (found - expected).abs().sum() < 0.01 * expected.abs().sum()


def test_a_linear_score_gives_its_terms():
    """The epsilon rule: w x for each value, what the bias adds stays with it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2))
    images = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = LRP().relevance(Classifier(model, "logit"), images, [1, 0])
    torch.testing.assert_close(
        found, (model[1].weight.view(2, 3, 4, 5)[[1, 0]] * images).detach(), rtol=1e-3, atol=1e-5
    )


def test_shares_of_a_patch_by_loops():
    features, prototypes = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 2)
    where = torch.tensor([6, 3])  # of 3 x 4 places: row 1, column 2; row 0, column 3
    for rule, plain in (
        (distance_shares, lambda z, p: 1 / ((z - p) ** 4 + 1e-12)),
        (dot_shares, lambda z, p: max(z * p, 0.0)),
    ):
        found = place_patches(features, where, prototypes, rule)
        for number, (row, column) in enumerate([(1, 2), (0, 3)]):
            weights = {
                (d, row + r, column + c): plain(
                    features[number, d, row + r, column + c].item(), prototypes[number, d, r, c].item()
                )
                for d in range(3)
                for r in range(2)
                for c in range(2)
            }
            expected = torch.zeros(3, 4, 5)
            for place, weight in weights.items():
                expected[place] = weight / sum(weights.values())
            torch.testing.assert_close(found[number], expected)


def test_relevance_lies_where_the_evidence_is():
    """Cells of 4 x 4 pixels that do not overlap: all relevance of a similarity belongs to the most similar cell."""
    torch.manual_seed(0)
    explained = ProtoPNet(ToyBackbone(), ["a", "b"], image_size=16, prototypes_per_class=1, channels=8).eval()
    images, index = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    cells = explained.similarity_maps(images, index).flatten(1).argmax(1)
    for found, cell in zip(LRP()(explained, images, index), cells.tolist()):
        row, column = divmod(cell, 4)
        inside = found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum()
        assert inside > 0 and torch.isclose(inside, found.sum())


def test_a_batch_gives_what_a_loop_gives_and_the_model_stays_as_it_was():
    explained = network("mobilenetv2_035", "cosine").train()
    before = {name: value.clone() for name, value in explained.state_dict().items()}
    images, index = torch.randn(3, 3, 64, 64), torch.tensor([0, 3, 1])
    whole = LRP(batch_size=2).relevance(explained, images, index)
    each = torch.cat([LRP().relevance(explained, images[i : i + 1], index[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, each, rtol=1e-3, atol=1e-3 * float(each.abs().max()))
    assert all(torch.equal(value, before[name]) for name, value in explained.state_dict().items())
    assert explained.training and all(each.requires_grad for each in explained.parameters())


class Function(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, values):
        return self.call(values)


def normed(norm):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4, bias=False)
    ).eval()


@pytest.mark.parametrize(
    "norm, named",
    [
        (nn.GroupNorm(4, 8), r"GroupNorm \(1\)"),
        (nn.InstanceNorm2d(8), r"InstanceNorm2d \(1\)"),
        (Function(lambda values: F.group_norm(values, 4)), "group_norm .*call"),
        (Function(lambda values: torch.group_norm(values, 4)), "group_norm .*call"),
        (Function(F.instance_norm), "instance_norm .*call"),
        (Function(lambda values: F.layer_norm(values, values.shape[1:])), "layer_norm .*call"),
    ],
)
def test_norms_over_an_images_own_values_are_refused(norm, named):
    model = normed(norm)
    with pytest.raises(InputError, match=f"no rule for {named}.*batch norms.*mdm"):
        LRP()(Classifier(model, "logit"), torch.randn(2, 3, 8, 8), [0, 1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_local_response_norms_pass_relevance_on():
    explained = Classifier(normed(nn.LocalResponseNorm(3, alpha=1.0)), "logit")
    images, index = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 1])
    found = LRP().relevance(explained, images, index)
    torch.testing.assert_close(found.sum((1, 2, 3)), explained.score(images, index).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_class_that_is_none_is_refused_whichever_images_it_is(wrong):
    explained = Classifier(normed(nn.Identity()), "logit")
    for index in ([wrong, 0, 1], [0, 1, wrong]):
        with pytest.raises(InputError, match=f"no class {wrong}; the model has 4"):
            LRP(batch_size=2)(explained, torch.randn(3, 3, 8, 8), index)


def test_what_has_no_rule_is_refused():
    transformer = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    with pytest.raises(InputError, match="no rule for LayerNorm.*chefer"):
        LRP()(Classifier(transformer), torch.randn(1, 3, 32, 32), [0])
    with pytest.raises(InputError, match="Network is neither"):
        LRP()(Network(), *pairs(1))
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    image = torch.randn(1, 3, 8, 8)
    for model in (torch.jit.trace(plain, image), torch.jit.script(plain), nn.Sequential(torch.jit.script(plain))):
        with pytest.raises(InputError, match="TorchScript.*relevance propagation needs the layers.*mdm, rise"):
            LRP()(Classifier(model), image, [0])
    for model in (torch.export.export(plain, (image,)).module(), lambda images: plain(images)):
        with pytest.raises(InputError, match="no convolution or linear layer.*mdm, rise"):
            LRP()(Classifier(model), image, [0])
    with pytest.raises(InputError, match="batch_size is 0"):
        LRP(batch_size=0)


def test_without_zennit_the_mend_is_named(monkeypatch):
    monkeypatch.setattr(relevance, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="prp.*pip install zennit"):
        get_localizer("prp")


class Middle(nn.Module):
    """A network without biases in linear layers, with a function in its middle: relevances sum to the logit."""

    def __init__(self, call):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.call = nn.Linear(8, 4, bias=False), call

    def forward(self, images):
        maps = self.first(images).relu()
        return self.head(self.call(self.second(maps), maps).mean((2, 3)))


CALLS = {
    "selu": lambda y, h: F.selu(y),
    "celu": lambda y, h: F.celu(y),
    "softplus": lambda y, h: F.softplus(y),
    "logsigmoid": lambda y, h: F.logsigmoid(y),
    "prelu": lambda y, h: F.prelu(y, torch.tensor([0.25])),
    "rrelu": lambda y, h: F.rrelu(y),
    "square": lambda y, h: y**2,
    "abs": lambda y, h: y.abs(),
    "difference": lambda y, h: y.relu() - 2 * h,
    "from one": lambda y, h: 1 - y.relu(),
    "quotient": lambda y, h: y.relu() / (1 + h),
    "sum": lambda y, h: h.sum((2, 3), keepdim=True) / h[0, 0].numel(),
    "stack": lambda y, h: torch.stack([y.relu(), h]).sum(0),
    "broadcast": lambda y, h: y.relu() + h.mean((2, 3), keepdim=True),
    "gate": lambda y, h: y.mean(1, keepdim=True) * h.mean((2, 3), keepdim=True),
    "functional": lambda y, h: F.conv2d(h, torch.ones(8, 8, 3, 3) / 72).relu(),
    "einsum": lambda y, h: torch.einsum("oc,bchw->bohw", torch.eye(8) + 0.1, h),
    "normalize": lambda y, h: F.normalize(h, dim=1),
}


SPELT_OUT = {
    "mean": (lambda h: torch.mean(input=h, dim=(2, 3), keepdim=True), lambda h: h.mean((2, 3), keepdim=True)),
    "conv2d": (lambda h: F.conv2d(input=h, weight=torch.ones(8, 8, 1, 1)), lambda h: h.sum(1, keepdim=True) + 0 * h),
    "add": (lambda h: torch.add(input=h, other=h.flip(1)), lambda h: h + h.flip(1)),
    "mul": (lambda h: torch.mul(h, other=h.mean(1, keepdim=True)), lambda h: h * h.mean(1, keepdim=True)),
}


@pytest.mark.parametrize("named, plain", SPELT_OUT.values(), ids=SPELT_OUT)
def test_maps_that_are_given_by_name_have_the_same_rules(named, plain):
    images, index = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    found, expected = (
        LRP().relevance(Classifier(Middle(lambda y, h, call=call: call(h)).eval(), "logit"), images, index)
        for call in (named, plain)
    )
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-4)


@pytest.mark.parametrize(
    "call", [lambda y, h: h / y, lambda y, h: h * y.mean((2, 3), keepdim=True), lambda y, h: h * y]
)
def test_a_convolution_whose_map_only_divides_or_gates_has_no_relevance(call):
    explained = Classifier(Middle(call).eval(), "logit")
    images, index = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    found = LRP().relevance(explained, images, index).sum((1, 2, 3))
    torch.testing.assert_close(found, explained.score(images, index).detach(), rtol=0.01, atol=1e-4)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1), Function(lambda logits: logits.softmax(1))])
def test_of_a_last_softmax_the_mend_is_told(last):
    model = nn.Sequential(Middle(lambda y, h: h), last).eval()
    with pytest.raises(InputError, match="no rule for .*softmax .*give the model without it: its logits"):
        LRP()(Classifier(model, "logit"), torch.randn(1, 3, 8, 8), [0])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_function_calls_lose_no_relevance(call):
    explained = Classifier(Middle(call).eval(), "logit")
    images, index = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    found = LRP().relevance(explained, images, index).sum((1, 2, 3))
    torch.testing.assert_close(found, explained.score(images, index).detach(), rtol=0.01, atol=1e-4)


@pytest.mark.parametrize(
    "name, call", [("softmax", lambda y, h: y.softmax(1)), ("lp_pool2d", lambda y, h: F.lp_pool2d(h, 2, 2))]
)
def test_a_call_without_a_rule_is_named(name, call):
    images, index = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
    with pytest.raises(InputError, match=f"no rule for {name} .*call.*mdm"):
        LRP()(Classifier(Middle(call).eval(), "logit"), images, index)
    beside = Middle(lambda y, h: (call(y, h), y.relu())[1] * h.softmax(1).amax((2, 3), keepdim=True))
    assert LRP()(Classifier(beside.eval(), "logit"), images, index).amax() == 1  # no relevance comes to it


class Outside(nn.Module):
    """What a copy of it computes reaches the original, by a hook or by a function in an attribute."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head, self.kept = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 4), {}

        def keep(module, inputs, output):
            self.kept["features"] = output.detach() if way == "detached" else output

        if way == "function":
            self.step = lambda images: keep(None, None, self.convolution(images))
        else:
            self.step = self.convolution
            self.convolution.register_forward_hook((lambda *_: None) if way == "harmless" else keep)
            self.way = way

    def forward(self, images):
        found = self.step(images)
        return self.head(self.kept.get("features", found).relu().mean((2, 3)))


@pytest.mark.parametrize("way", ["hook", "detached", "function"])
def test_a_copy_that_works_with_parts_of_the_original_is_refused(way):
    model, (images, index) = Outside(way).eval(), pairs(2)
    model.convolution.weight.requires_grad_(way != "detached")
    model(images)
    with pytest.raises(InputError, match="a copy.*mdm, rise, occlusion"):
        LRP()(Classifier(model, "logit"), images, index)


def test_hooks_that_change_nothing_do_not_matter():
    model, (images, index) = Outside("harmless").eval(), pairs(2)
    found = LRP()(Classifier(model, "logit"), images, index)
    model.convolution._forward_hooks.clear()
    assert torch.equal(found, LRP()(Classifier(model, "logit"), images, index))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_score_without_a_gradient_is_one_line(elsewhere):
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)
            self.linear = nn.Linear(4, 2)
            self.shift = [torch.zeros(2, requires_grad=elsewhere)]

        def forward(self, images):
            return self.linear(self.convolution(images).relu().mean((2, 3)).detach()) + self.shift[0]

    with pytest.raises(InputError, match="score of Classifier has no gradient .*; relevance propagation needs one$"):
        LRP()(Classifier(Detached().eval()), torch.randn(1, 3, 16, 16), torch.tensor([0]))
