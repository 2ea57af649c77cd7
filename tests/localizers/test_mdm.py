from dataclasses import replace

import pytest
import torch

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import HDM, MDM, Cascade, Destroy, Fusion, Keep, Order, Runtime, Views
from protomask.localizers.engine.masks import background
from tests.support.scores import Linear, Network, Region, pairs

QUICK = MDM(
    keep=Keep(sizes=(4, 8), steps=24, rate=0.15),
    destroy=Destroy(sizes=(4, 8), steps=4),
    order=Order(sizes=(8, 24), steps=6),
).completed(MDM.for_classes())


def test_the_map_lies_on_the_evidence():
    images = torch.ones(2, 3, 24, 24)
    saliency = QUICK(Region(slice(0, 12), slice(12, 24)), images, torch.tensor([0, 1]))
    assert saliency.shape == (2, 24, 24) and saliency.dtype == torch.float32
    inside = saliency[:, :12, 12:].sum((1, 2)) / saliency.sum((1, 2))
    assert (inside > 0.8).all()


def test_a_batch_gives_what_a_loop_gives():
    network = Network().double().eval()
    images, index = pairs(5)
    images = images.double()
    whole = QUICK(network, images, index)
    each = torch.cat([QUICK(network, images[place : place + 1], index[place : place + 1]) for place in range(5)])
    torch.testing.assert_close(whole, each, atol=2e-3, rtol=0)


@pytest.mark.parametrize("localizer", [QUICK, HDM(keep=Keep(steps=2), order=Order(steps=2))])
def test_classes_go_through_the_network_one_by_one_unless_a_number_is_given(localizer):
    network = Network().eval()
    images, index = pairs(5)
    seen = set()
    network.register_forward_pre_hook(lambda module, inputs: seen.add(len(inputs[0])))
    localizer(Classifier(network), images, index)
    assert seen == {1}
    seen.clear()
    replace(localizer, runtime=Runtime(batch_size=4))(Classifier(network), images, index)
    assert max(seen) == 4
    seen.clear()
    score = network.score
    network.score = lambda images, index: seen.add(len(images)) or score(images, index)
    localizer(network, images, index)
    # Prototypes of small images cost twice as much by themselves; HDM's and NeuroMask's maps amplify rounding.
    assert 5 in seen if isinstance(localizer, MDM) else seen == {1}


def test_negative_scores_are_explained():
    weights = torch.zeros(1, 3, 24, 24)
    weights[:, :, :12, :12] = 1 / 432
    saliency = QUICK(Linear(weights, offset=-5.0), torch.ones(1, 3, 24, 24), torch.tensor([0]))
    assert saliency[0, :12, :12].sum() > 0.8 * saliency.sum()


def test_the_model_is_left_as_it_was_also_after_an_error():
    network = Network().train()
    modes = [module.training for module in network.modules()]
    images, index = pairs(2)
    with torch.inference_mode():
        QUICK(network, images, index)

    class Broken(Exception):
        pass

    def fail(*_):
        raise Broken

    handle = network.body.register_forward_hook(fail)
    with pytest.raises(Broken):
        QUICK(network, images, index)
    handle.remove()
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("destroy", [False, True])
def test_masks_follow_their_equation(destroy):
    """Four steps of Adam in float64, written out for one pair. Keeping: signed consistency, both backgrounds in turn, a
    growing price, the mean of the last two masks. Destroying: one-sided, one background and price, the last mask; the
    keeping mask is then a single cell, which adds nothing to the map."""
    network = Network().double().eval()
    images, index = (value.double() if value.is_floating_point() else value for value in pairs(1))
    learned = MDM(
        keep=Keep(sizes=(6,), size_weights=(0.5, 4.0), steps=4, settle=0.5, consistency="signed"),
        destroy=Destroy(steps=0),
        order=Order(steps=0),
        background="alternating",
    )
    if destroy:
        learned = MDM(
            keep=Keep(sizes=(1,), steps=1),
            destroy=Destroy(sizes=(6,), size_weight=2.0, steps=4, rate=0.1, share=1.0),
            order=Order(steps=0),
        )
    found = learned(network, images, index)
    up = torch.nn.Upsample(size=(24, 24), mode="bilinear")
    whole, empty = network.score(images, index).detach(), network.score(images * 0, index).detach()
    scale = torch.maximum(whole - empty, 0.01 * whole.abs())
    blurred = background(images, index, "blur")
    vector, mean, square, masks = torch.ones(1, 1, 6, 6, dtype=torch.float64), 0.0, 0.0, []
    for step in (1, 2, 3, 4):
        vector = vector.detach().requires_grad_()
        hidden, mask = (images * 0 if step % 2 or destroy else blurred), up(vector)
        score = network.score(
            images * mask + hidden * (1 - mask) if not destroy else images * (1 - mask) + hidden * mask, index
        )
        cost = ((score - empty).relu() if destroy else whole - score) / scale
        loss = cost.sum() + (2.0 if destroy else 0.5 * 8 ** ((step - 1) / 3)) * vector.mean()
        (gradient,) = torch.autograd.grad(loss, vector)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        vector = (vector - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)).clamp(0, 1)
        masks.append(vector.detach())
    expected = up(masks[3] if destroy else (masks[2] + masks[3]) / 2)[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(found[0].double(), expected, atol=1e-3, rtol=0)


def test_what_is_explained_chooses_what_is_left_open():
    network = Network().eval()
    images, index = pairs(1)
    for explained, preset in ((Classifier(network), MDM.for_classes()), (network, MDM.for_prototypes())):
        assert torch.equal(MDM()(explained, images, index), preset(explained, images, index))
        found = MDM(keep=Keep(steps=3)).for_model(explained)
        assert found == replace(preset, keep=replace(preset.keep, steps=3)) == found.for_model(explained)


@pytest.mark.parametrize(
    "part, settings",
    [
        (Keep, {"sizes": ()}),
        (Keep, {"sizes": 7}),
        (Keep, {"size_weights": (0.0, 1.0)}),
        (Keep, {"size_weights": (1.0,)}),
        (Keep, {"consistency": "both"}),
        (Keep, {"steps": 0}),
        (Keep, {"steps": 2.5}),
        (Keep, {"settle": 2.0}),
        (Keep, {"rate": -0.1}),
        (Destroy, {"sizes": (0,)}),
        (Destroy, {"steps": -1}),
        (Destroy, {"share": float("nan")}),
        (Order, {"steps": -1}),
        (Order, {"sizes": ()}),
        (Order, {"areas": (1.0,)}),
        (Order, {"areas": ()}),
        (Order, {"softness": 0.0}),
        (Order, {"damping": -0.1}),
        (Order, {"damping": float("nan")}),
        (Order, {"area_weight": -1.0}),
        (Order, {"values": "grey"}),
        (Order, {"contrast": 0.0}),
        (Views, {"noise": -0.1}),
        (Views, {"shift": 0.6}),
        (Cascade, {"modules": 0}),
        (Cascade, {"guide": -1.0}),
        (Cascade, {"leeway": -0.1}),
        (Fusion, {"steps": -1}),
        (Runtime, {"precision": "fp8"}),
        (Runtime, {"batch_size": 0}),
        (Runtime, {"seed": 0.5}),
        (MDM, {"background": "grey"}),
        (HDM, {"background": "grey"}),
        (HDM, {"order": Order(steps=0)}),
    ],
)
def test_wrong_settings_are_refused_by_name(part, settings):
    with pytest.raises(InputError, match=f"{part.__name__}: {next(iter(settings))} "):
        part(**settings)
