"""Grad-CAM and Score-CAM, and the layer that they look at."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from protomask.backbones.tokens import as_map
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, get_localizer
from protomask.localizers.base import min_max
from protomask.localizers.gradcam import class_maps
from protomask.localizers.layers import find_layer
from protopnet.model import ProtoPNet
from tests.support.scores import Network, Region, pairs
from tests.support.toy import ToyBackbone
from xprotonet.model import XProtoNet

BOTH = [GradCAM(), ScoreCAM()]
ALL = [*BOTH, GradCAMPlusPlus(), LayerCAM()]


def pooled_classifier():
    """The cells of 4 x 4 pixels, their three channels as the logits: channel c speaks for class c alone."""
    model = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[1].weight.data = torch.eye(3)[:, :, None, None]
    return model


def test_gradcam_of_a_pooled_classifier_is_its_own_channel():
    """a_k is 1/20 for the class's own channel and 0 for the others, so the map is that channel."""
    images, index = pairs(3, 16, 20)
    index = index % 3
    model = pooled_classifier()
    expected = F.avg_pool2d(images, 4)[torch.arange(3), index][:, None].relu()
    found = GradCAM()(Classifier(model, score="logit"), images, index)
    torch.testing.assert_close(found, min_max(F.interpolate(expected, (16, 20), mode="bilinear")[:, 0]))


def test_scorecam_by_hand():
    """One bright cell per channel. The mask of channel k keeps that cell: s(x * M_k) is positive for k = the class
    alone."""
    images = torch.zeros(1, 3, 16, 16)
    images[0, 0, :4, :4], images[0, 1, 12:, 12:], images[0, 2, :4, 12:] = 40.0, 40.0, 40.0
    model = pooled_classifier()
    features = F.avg_pool2d(images, 4)[0]
    masks = min_max(F.interpolate(features[None], (16, 16), mode="bilinear")[0])
    gains = torch.stack([F.avg_pool2d(images * mask, 4)[0, 1].mean() for mask in masks])
    weights = gains.exp() / gains.exp().sum()
    cam = sum(weight * feature for weight, feature in zip(weights, features)).relu()
    expected = min_max(F.interpolate(cam[None, None], (16, 16), mode="bilinear")[:, 0])
    found = ScoreCAM(batch_size=2)(Classifier(model, score="logit"), images, torch.tensor([1]))
    torch.testing.assert_close(found, expected)
    assert found[0, 13:, 13:].min() > found[0, :3, :3].max() > 0


@pytest.mark.parametrize("localizer", [GradCAMPlusPlus(layer="body.2"), LayerCAM(layer="body.2")], ids=str)
def test_the_papers_formulas_place_by_place(localizer):
    """Grad-CAM++ equations 10 and 19, of exp(score); LayerCAM equations 6 and 7."""
    network, (images, index) = Network().eval(), pairs(2, 24, 30)
    features = network.body[:3](images).detach().requires_grad_()
    score = network.body[3:](features)[torch.arange(2), index].flatten(1).amax(1)
    (slopes,) = torch.autograd.grad(score.sum(), features)
    cams = []
    for values, slope, factor in zip(features.detach(), slopes, score.exp().tolist()):
        cam = torch.zeros(values.shape[1:])
        for value, g in zip(values, slope):
            if isinstance(localizer, LayerCAM):
                cam += g.clamp(min=0) * value
                continue
            below = 2 * g**2 + (value * g**3).sum()
            alphas = torch.tensor(
                [[x**2 / y if x else 0.0 for x, y in zip(*rows)] for rows in zip(g.tolist(), below.tolist())]
            )
            cam += (alphas * (factor * g).clamp(min=0)).sum() * value
        cams.append(cam.clamp(min=0))
    expected = min_max(F.interpolate(torch.stack(cams)[:, None], (24, 30), mode="bilinear")[:, 0])
    torch.testing.assert_close(localizer(network, images, index), expected, atol=1e-4, rtol=0)


def test_agreement_with_captum():
    attr = pytest.importorskip("captum.attr")
    network, (images, index) = Network().eval(), pairs(4, 24, 30)
    direct = attr.LayerGradCam(network.score, network.body[2]).attribute(
        images.clone().requires_grad_(), additional_forward_args=index, relu_attributions=True
    )
    expected = min_max(F.interpolate(direct.detach(), (24, 30), mode="bilinear")[:, 0])
    torch.testing.assert_close(
        GradCAM(layer="body.2", batch_size=3)(network, images, index), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "name, layer",
    [("resnet10t", "layer4"), ("mobilenetv2_035", "bn2"), ("convnext_atto", "norm_pre"), ("test_efficientnet", "bn2")],
)
def test_the_last_feature_map_of_real_networks(name, layer):
    model = timm.create_model(name).eval()
    images, index = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 5])
    assert find_layer(Classifier(model), images[:1], index[:1], None, "x").name == layer
    found = GradCAM()(Classifier(model), images, index)
    assert found.shape == (2, 64, 96) and found.isfinite().all()
    assert not any(module._forward_hooks for module in model.modules())


def test_channels_last_maps_and_tokens():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=24, depths=(1, 1), num_heads=(2, 2)
    ).eval()
    images, index = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([3])
    layer = find_layer(Classifier(swin), images, index, None, "x")
    with layer.record():
        swin(images)
        assert layer.as_map(layer.output, (64, 64)).shape == (1, 48, 8, 8)
    assert GradCAM()(Classifier(swin), images, index).amax() == 1

    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2).eval()
    for method in BOTH:
        with pytest.raises(InputError, match="ends in tokens.*layer='blocks.1.norm1'"):
            method(Classifier(vit), images, index)
    assert GradCAM(layer="blocks.1.norm1")(Classifier(vit), images, index).amax() == 1
    assert not any(module._forward_hooks for module in vit.modules())


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
@pytest.mark.parametrize("method", BOTH, ids=lambda method: type(method).__name__)
def test_prototype_networks_show_the_map_before_the_prototypes(kind, method):
    torch.manual_seed(0)
    network = kind(ToyBackbone(), ["a", "b"], image_size=16, prototypes_per_class=2, channels=6)
    images, index = torch.rand(2, 3, 16, 16), torch.tensor([0, 3])
    assert find_layer(network, images[:1], index[:1], None, "x").name == "backbone"
    found = method(network, images, index)
    assert found.shape == (2, 16, 16) and found.isfinite().all() and network.training


@pytest.mark.parametrize(
    "method", [GradCAM(batch_size=2), ScoreCAM(batch_size=3)], ids=lambda method: type(method).__name__
)
def test_batch_loop_state_and_errors(method):
    network, (images, index) = Network().train(), pairs(5, 21, 26)
    modes = [module.training for module in network.modules()]
    with torch.inference_mode():
        whole = method(network, images, index)
    single = torch.cat([method(network, images[place : place + 1], index[place : place + 1]) for place in range(5)])
    torch.testing.assert_close(whole, single, atol=1e-4, rtol=0)
    assert not whole.requires_grad and whole.dtype == torch.float32 and whole.amin() >= 0 and whole.amax() <= 1

    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) > 1:  # after the layer was found, with its hook in place
            raise ZeroDivisionError

    handle = network.body.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        method(network, images, index)
    handle.remove()
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_in_place_changes_after_the_layer_do_no_harm():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.convolution(images).relu_().mean((2, 3))

    torch.manual_seed(0)
    model, (images, index) = InPlace(), pairs(2)
    features = model.convolution(images).detach().requires_grad_()
    (slope,) = torch.autograd.grad(features.relu().mean((2, 3))[torch.arange(2), index].sum(), features)
    cam = (slope.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu().detach()
    torch.testing.assert_close(
        GradCAM()(Classifier(model, score="logit"), images, index),
        min_max(F.interpolate(cam, (24, 24), mode="bilinear")[:, 0]),
        atol=1e-5,
        rtol=0,
    )


def test_what_has_no_feature_map_is_refused_with_the_mend():
    images, index = pairs(1)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 5))
    for method in BOTH:
        with pytest.raises(InputError, match="no layer with a feature map.*mdm"):
            method(Classifier(flat), images, index)
        with pytest.raises(InputError, match="Region holds no torch module"):
            method(Region(slice(0, 2), slice(0, 2)), images, index)
    with pytest.raises(InputError, match="no layer 'layer9'.*body"):
        GradCAM(layer="layer9")(Network(), images, index)
    with pytest.raises(InputError, match="'1' gives no feature map"):
        GradCAM(layer="1")(Classifier(flat), images, index)
    with pytest.raises(InputError, match="batch_size is 0"):
        ScoreCAM(batch_size=0)


@pytest.mark.parametrize(
    "shape, size, expected",
    [
        ((1, 6, 9, 32), (96, 144), (1, 32, 6, 9)),
        ((1, 32, 6, 9), (96, 144), (1, 32, 6, 9)),
        ((2, 7, 7, 7), (224, 224), (2, 7, 7, 7)),
        ((1, 3, 5, 64), (96, 144), (1, 64, 3, 5)),  # rounded up
        ((1, 64, 3, 5), (96, 144), (1, 64, 3, 5)),
        ((1, 1, 1, 8), (32, 64), (1, 8, 1, 1)),
        ((1, 8, 1, 1), (32, 64), (1, 8, 1, 1)),
    ],
)
def test_the_layout_is_decided_for_each_map(shape, size, expected):
    features = torch.arange(torch.Size(shape).numel()).reshape(shape)
    found = as_map(features, nn.Identity(), size)
    assert found.shape == expected
    if shape != expected:
        assert torch.equal(found, features.permute(0, 3, 1, 2))


LAYOUTS = [
    ("convnext_atto", "stages.2.blocks.1", (6, 9)),
    ("convnext_atto", "stages.2.blocks.1.mlp.fc1", (6, 9)),
    ("swin_tiny_patch4_window7_224", "layers.1.blocks.0", (12, 18)),
    ("swin_tiny_patch4_window7_224", "layers.2.blocks.1", (6, 9)),
]


@pytest.mark.parametrize("name, layer, grid", LAYOUTS)
def test_blocks_named_by_hand_are_read_in_their_own_layout(name, layer, grid):
    """The map's cell at a place depends on the image there: a change in one corner is seen in that corner alone."""
    options = {"img_size": (96, 144), "embed_dim": 24, "num_heads": (1, 2, 3, 3)} if "swin" in name else {}
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4, **options).eval()
    explained = Classifier(model, score="logit")
    image, index = torch.rand(1, 3, 96, 144), torch.tensor([1])
    found = find_layer(explained, image, index, layer, "Grad-CAM")
    with torch.no_grad(), found.record():
        explained.score(image, index)
        before = found.as_map(found.output, (96, 144))
        changed = image.clone()
        changed[..., :8, :8] = 0
        explained.score(changed, index)
        moved = (found.as_map(found.output, (96, 144)) - before).abs().sum(1)[0]
    assert before.shape[2:] == grid
    assert divmod(int(moved.argmax()), grid[1])[0] <= 1 and divmod(int(moved.argmax()), grid[1])[1] <= 1
    cam = GradCAM(layer=layer)(explained, image, index)
    assert cam.shape == (1, 96, 144) and cam.isfinite().all()


class _Aside(nn.Module):
    """A branch that is computed and thrown away, beside one that makes the score."""

    def __init__(self):
        super().__init__()
        self.used, self.aside = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, images):
        self.aside(images)
        return self.used(images).mean((2, 3))


@pytest.mark.parametrize("method", [GradCAM, ScoreCAM])
def test_a_layer_that_does_not_reach_the_score_is_an_error(method):
    images, index = torch.rand(2, 3, 16, 20), torch.tensor([0, 1])
    explained = Classifier(_Aside().eval(), score="logit")
    with pytest.raises(InputError, match="layer 'aside' does not reach the score"):
        method(layer="aside")(explained, images, index)
    assert method(layer="used")(explained, images, index).shape == (2, 16, 20)
    model = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), num_classes=4, depth=2, embed_dim=12).eval()
    nn.init.normal_(model.head.weight)
    explained = Classifier(model, score="logit")
    images = torch.rand(2, 3, 32, 48)
    with pytest.raises(InputError, match="places of layer 'blocks.1' do not reach the score"):
        method(layer="blocks.1")(explained, images, index)
    assert method(layer="blocks.1.norm1")(explained, images, index).shape == (2, 32, 48)


def test_the_maps_of_several_classes_come_from_one_pass():
    model, images = timm.create_model("test_resnet", num_classes=5).eval(), torch.randn(1, 3, 64, 64)
    classifier, classes = Classifier(model, score="logit"), [3, 1]
    layer = find_layer(classifier, images, torch.zeros(1, dtype=torch.long), None, "Grad-CAM")
    with layer.record():
        found = class_maps(layer, classifier.logits(images.clone().requires_grad_()), classes, images)
    expected = GradCAM(layer=layer.name)(classifier, images.expand(2, -1, -1, -1), torch.tensor(classes))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    with layer.record(), torch.no_grad(), pytest.raises(InputError, match="no gradient"):
        class_maps(layer, classifier.logits(images), classes, images)


class _OneReLU(nn.Module):
    """One ReLU for everything: the map, a second and smaller one, and the vector that its head ends in."""

    def __init__(self, relu):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 6, 3, 2, 1)
        self.hidden, self.last = nn.Linear(6, 12), nn.Linear(12, 5)
        self.relu = relu

    def forward(self, images):
        maps = self.relu(self.second(self.relu(self.first(images))))
        return self.last(self.relu(self.hidden(maps.mean((2, 3)))))


class _OwnReLUs(_OneReLU):
    """The same with a ReLU of its own for the map."""

    def __init__(self):
        super().__init__(nn.ReLU())
        self.map = nn.ReLU()

    def forward(self, images):
        maps = self.map(self.second(self.relu(self.first(images))))
        return self.last(self.hidden(maps.mean((2, 3))).relu())


@pytest.mark.parametrize("layer", [None, "relu"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("method", ALL, ids=lambda method: type(method).__name__)
def test_a_module_that_is_called_again_in_the_head_is_meant_where_it_gave_its_last_map(method, in_place, layer):
    torch.manual_seed(0)
    reused = _OneReLU(nn.ReLU(in_place)).eval()
    own = _OwnReLUs().eval()
    own.load_state_dict(reused.state_dict())
    images, index = pairs(3, 32, 40)
    assert find_layer(Classifier(reused), images[:1], index[:1], None, "x").name == "relu"
    method = replace(method, batch_size=2)
    expected = replace(method, layer="map")(Classifier(own, "logit"), images, index)
    found = replace(method, layer=layer)(Classifier(reused, "logit"), images, index)
    assert expected.amax() == 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_layer_named_by_the_user_is_its_last_call_where_that_is_a_map():
    """As captum's: also where the map has a single cell, which is no map that is found without a name."""

    class Pooled(_OneReLU):
        def forward(self, images):
            maps = self.relu(self.second(self.relu(self.first(images))))
            return self.last(self.hidden(self.relu(maps.mean((2, 3), keepdim=True)).flatten(1)))

    torch.manual_seed(0)
    model, (images, index) = Pooled(nn.ReLU()).eval(), pairs(1, 32, 40)
    for name, sides in (("relu", (1, 1)), (None, (8, 10))):
        layer = find_layer(Classifier(model), images, index, name, "x")
        with torch.no_grad(), layer.record():
            model(images)
            assert layer.name == "relu" and layer.output.shape[2:] == sides


class _Standardised(nn.Module):
    """A network that standardises each image by itself: an image without contrast has no score."""

    def __init__(self):
        super().__init__()
        self.model = pooled_classifier()

    def forward(self, images):
        return self.model((images - images.mean((1, 2, 3), True)) / images.std((1, 2, 3), keepdim=True))


def test_scorecam_needs_no_score_of_the_empty_image():
    images, index = pairs(2, 16, 20)
    explained = Classifier(_Standardised(), "logit")
    assert explained.score(torch.zeros_like(images), index % 3).isnan().all()
    found = ScoreCAM()(explained, images, index % 3)
    assert (found.amax((1, 2)) == 1).all()


def test_scorecam_names_the_image_whose_masked_images_have_no_score():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = pooled_classifier()

        def forward(self, images):
            dark = (images == 0).flatten(1).any(1)  # what a mask hides altogether
            return self.model(images).masked_fill(dark[:, None], float("nan"))

    images = torch.rand(2, 3, 16, 16) + 0.5
    images[0] = torch.linspace(0.5, 1.0, 3)[:, None, None]  # no contrast, so nothing masks it
    with pytest.raises(InputError, match="nan for image 1"):
        ScoreCAM()(Classifier(Broken(), "logit"), images, torch.tensor([0, 1]))


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (48, 32)])
def test_attention_that_pools_is_no_map(size):
    """As SigLIP's: (B, heads, tokens, values), here also as many values as tokens, as sides of a square."""
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=size, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=5, global_pool="map"
    ).eval()
    images, index = torch.randn(2, 3, *size), torch.tensor([0, 1])
    for method in ALL:
        with pytest.raises(InputError, match="ends in tokens.*layer='blocks.0.norm1'"):
            method(Classifier(model, "logit"), images, index)


class _WithDecoder(nn.Module):
    """A classifier that also draws a mask, by a decoder that the logits know nothing of."""

    def __init__(self, logits=True):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
        self.head, self.decoder = nn.Linear(8, 4), nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(4, 2, 1))
        self.logits = logits

    def forward(self, images):
        maps = self.encoder(images)
        head = self.head(maps.mean((2, 3)) if self.logits else images.mean((2, 3)).repeat(1, 3)[:, :8])
        return {"logits": head, "mask": self.decoder(maps)}


@pytest.mark.parametrize("method", ALL, ids=lambda method: type(method).__name__)
def test_a_map_beside_the_score_is_passed_over(method):
    torch.manual_seed(0)
    explained = Classifier(_WithDecoder().eval(), "logit")
    images, index = torch.randn(2, 3, 32, 40), torch.tensor([0, 3])
    found = method(explained, images, index)
    assert torch.equal(found, replace(method, layer="encoder")(explained, images, index)) and found.amax() == 1
    with pytest.raises(InputError, match="layer 'decoder' does not reach the score"):
        method(Classifier(_WithDecoder(logits=False).eval(), "logit"), images, index)


def test_a_network_that_computes_no_gradients_has_a_last_map():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.convolution(images.sub_(0.5)).mean((2, 3))  # which no image with a gradient allows

    found = ScoreCAM()(Classifier(InPlace().eval(), "logit"), torch.rand(1, 3, 16, 20), torch.tensor([1]))
    assert found.amax() == 1


@pytest.mark.parametrize("way", ["torch.compile", "in place", "within"])
@pytest.mark.parametrize("name", ["gradcam", "gradcam++", "layercam", "score-cam", "gradcam:layer=body.0"])
def test_compiled_modules_are_refused_where_layers_are_needed(name, way):
    model = Network().eval()
    if way == "torch.compile":
        model = torch.compile(model, backend="eager")
        name = name.replace("body", "_orig_mod.body")
    elif way == "in place":
        model.compile(backend="eager")
    else:
        model.body.compile(backend="eager")
    with pytest.raises(InputError, match="is compiled, and .* needs the layers of the plain module; give"):
        get_localizer(name)(Classifier(model, "logit"), *pairs(1))


def test_what_is_compiled_beside_a_named_layer_does_not_matter():
    model = nn.ModuleDict({"body": nn.Conv2d(3, 4, 3), "head": nn.Linear(4, 3)})

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, images):
            return self.parts["head"](self.parts["body"](images).mean((2, 3)))

    explained, (images, index) = Classifier(Model().eval(), "logit"), pairs(1)
    plain = get_localizer("gradcam:layer=parts.body")(explained, images, index)
    model["head"].compile(backend="eager")
    torch.testing.assert_close(get_localizer("gradcam:layer=parts.body")(explained, images, index), plain)
