import warnings

import numpy as np
import pytest
import torch

from protomask.errors import InputError, NothingToKeepWarning
from protomask.explanations.files import read_pictures, save_pictures
from protomask.explanations.predictions import explain
from protomask.explanations.records import PrototypeRecord
from protomask.explanations.sources import picture_prototypes
from protomask.localizers import get_localizer
from protomask.projection import project
from protomask.run_folder import RunFolder
from protomask.training import TrainingSet, performance
from protomask.warned import about_maps, maps_nobody_asked_about, name_of_map, named_maps
from protopnet import ProtoPNet
from protopnet.start import principal_add_on, start_from_patches
from tests.support.toy import ColourImages, ToyBackbone

LOCALIZERS = {"similarity": get_localizer("similarity"), "center": get_localizer("center")}


@pytest.fixture
def projected():
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6).eval()
    project(net, TrainingSet(data, data, data.subset([])))
    return net, data


def test_pictures_show_the_source_of_every_prototype(projected):
    net, data = projected
    pictures = picture_prototypes(net, data, LOCALIZERS, batch_size=4)
    assert [picture.record.prototype for picture in pictures] == list(range(6))
    for prototype, picture in enumerate(pictures):
        position = int(net.source_positions[prototype])
        assert picture.record.source == data.names[position]
        assert picture.record.class_name == data.classes[prototype // 2] == data.classes[int(data.labels[position])]
        assert picture.record.similarity == pytest.approx(1.0, abs=1e-4)
        assert picture.record.weight == net.scale
        expected = (data.pixels[position].permute(1, 2, 0) * 255).round().numpy()
        assert np.abs(picture.image.astype(int) - expected).max() <= 1
        with torch.no_grad():
            grid = net.similarity_maps(data[position]["image"].as_subclass(torch.Tensor)[None])[0, prototype]
        row, column = picture.record.location
        assert grid[row, column] == pytest.approx(grid.max().item(), abs=1e-5)
        assert picture.record.patch_box == (column * 4, row * 4, column * 4 + 4, row * 4 + 4)
        assert PrototypeRecord.from_json(picture.record.to_json()) == picture.record


def test_pictures_know_how_similar_an_empty_image_is_also_those_of_before(projected, tmp_path):
    net, data = projected
    pictures = picture_prototypes(net, data, LOCALIZERS, index=[4, 1])
    empty = torch.zeros(6, 3, 16, 16)
    with torch.no_grad():
        scores = net.score(empty, torch.arange(6)).tolist()
    assert [each.record.empty_similarity for each in pictures] == pytest.approx([scores[4], scores[1]], abs=1e-6)
    (found,) = explain(net, empty[:1], ["empty"], picture_prototypes(net, data, LOCALIZERS), LOCALIZERS)
    assert found.matches[0].similarity == pytest.approx(found.matches[0].prototype.record.empty_similarity, abs=1e-5)

    run = RunFolder(tmp_path)
    save_pictures(run, picture_prototypes(net, data, LOCALIZERS), network=net)
    rows = run.read("prototypes.json")
    assert [row.pop("empty_similarity") for row in rows] == pytest.approx(scores, abs=1e-6)
    run.write("prototypes.json", rows)  # as it was before
    assert [each.record.empty_similarity for each in read_pictures(run)] == [None] * 6
    assert [each.record.empty_similarity for each in read_pictures(run, net)] == pytest.approx(scores, abs=1e-6)


def test_an_unprojected_network_has_no_pictures():
    data = ColourImages()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6)
    with pytest.raises(InputError, match="not projected"):
        picture_prototypes(net, data, LOCALIZERS)


def test_pictures_of_other_data_are_refused(projected):
    net, data = projected
    with pytest.raises(InputError, match="another data set"):
        picture_prototypes(net, data.subset([0, 1]), LOCALIZERS)


@pytest.mark.parametrize("top", [1, 4, 50])
def test_points_sum_to_the_logit(projected, top):
    net, data = projected
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 9, 17)])
    truth = [data.classes[0], None, data.classes[2]]
    explanations = explain(net, images, ["a", "b", "c"], pictures, LOCALIZERS, true_classes=truth, top=top)
    with torch.no_grad():
        prediction = net(images)
    for place, explanation in enumerate(explanations):
        best = int(prediction.logits[place].argmax())
        assert explanation.predicted == net.classes[best] and explanation.true_class == truth[place]
        assert explanation.logit == pytest.approx(prediction.logits[place, best].item(), rel=1e-5)
        assert explanation.runner_up_logit == pytest.approx(prediction.logits[place].topk(2).values[1].item(), rel=1e-5)
        assert len(explanation.matches) == min(top, 6)
        points = [match.points for match in explanation.matches]
        assert points == sorted(points, reverse=True)
        for match in explanation.matches:
            assert match.points == pytest.approx(match.similarity * match.weight, rel=1e-5)
            prototype = match.prototype.record.prototype
            assert match.similarity == pytest.approx(prediction.similarities[place, prototype].item(), rel=1e-5)
            assert match.maps["center"].shape == (16, 16)
        assert sum(points) + explanation.other_points == pytest.approx(explanation.logit, rel=1e-5)
        weighed = prediction.similarities[place] * net.last_layer.weight[best]
        assert (
            explanation.shown_share
            == pytest.approx(sum(map(abs, points)) / weighed.abs().sum().item(), rel=1e-5)
            == explanation.to_json()["shown_share"]
        )
        if top == 50:
            assert explanation.other_points == pytest.approx(0, abs=1e-4)
        assert f"{explanation.logit:.3f} points" in explanation.text()


def test_by_default_as_many_are_shown_as_carry_nine_tenths(projected):
    net, data = projected
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 9, 17)])
    before = net.last_layer.weight.detach().clone()
    try:
        seen = set()
        for small in (0.001, 0.2, 1.0):
            with torch.no_grad():
                net.last_layer.weight.zero_()
                for prototype in range(6):
                    # The second prototype of each class counts less and less.
                    net.last_layer.weight[prototype // 2, prototype] = 3.0 if prototype % 2 == 0 else 3.0 * small
            for place, explanation in enumerate(explain(net, images, "abc", pictures, LOCALIZERS)):
                points = [match.points for match in explanation.matches]
                assert explanation.shown_share >= 0.9
                assert len(points) == 1 or sum(points[:-1]) < 0.9 * explanation.logit, "and none more"
                own = [match.prototype.record.prototype for match in explanation.matches]
                alone = explain(net, images[place : place + 1], "x", pictures, LOCALIZERS)[0]
                for match, other in zip(explanation.matches + explanation.counter, alone.matches + alone.counter):
                    assert np.array_equal(match.maps["similarity"], other.maps["similarity"])
                assert own == [match.prototype.record.prototype for match in alone.matches]
                seen.add(len(points))
        assert seen == {1, 2}
    finally:
        with torch.no_grad():
            net.last_layer.weight.copy_(before)


def test_by_default_what_is_shown_speaks_for_the_class(projected):
    """Weights of both signs: as many are counted as are shown, of those for the class, not of the strongest at all."""
    net, data = projected
    with torch.no_grad():
        similarities = net(data[0]["image"].as_subclass(torch.Tensor)[None]).similarities[0]
        net.last_layer.weight.fill_(-9.0)
        net.last_layer.weight[0] = torch.tensor([5.0, -5.0, 4.0, -4.0, 0.01, 0.01]) / similarities.clamp(min=1e-6)
    pictures = picture_prototypes(net, data, LOCALIZERS)
    (found,) = explain(net, data[0]["image"].as_subclass(torch.Tensor)[None], "a", pictures, LOCALIZERS)
    assert found.predicted == net.classes[0]
    assert [match.prototype.record.prototype for match in found.matches] == [0, 2]
    with torch.no_grad():
        net.last_layer.weight.neg_()[1:] = -99.0
        net.last_layer.weight[0] = -1.0
    (lost,) = explain(net, data[0]["image"].as_subclass(torch.Tensor)[None], "a", pictures, LOCALIZERS)
    assert len(lost.matches) == 1, "one, where none speaks for it"


def several(truths=None, logits=(2.0, -1.0, -3.0)):
    """A network of findings whose logits are its biases, and its explanations of one image for each of ``truths``."""
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(
        ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6, multi_label=True
    ).eval()
    project(net, TrainingSet(data, data, data.subset([])))
    with torch.no_grad():
        net.last_layer.weight.zero_()
        net.last_layer.bias.copy_(torch.tensor(logits))
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(len(truths or "a"))])
    names = [f"{place}" for place in range(len(images))]
    found = explain(net, images, names, pictures, LOCALIZERS, true_classes=truths)
    return [(each.name, each.finding, each.found, each.right) for each in found]


def test_missed_findings_are_explained_too_where_the_truth_is_known():
    truths = [("class 0", "class 2"), ("class 0",), (), None, "class 1"]
    assert several(truths) == [
        ("0", "class 0", True, True),
        ("0", "class 2", False, False),
        ("1", "class 0", True, True),
        ("2", "class 0", True, False),
        ("3", "class 0", True, None),
        ("4", "class 0", True, False),
        ("4", "class 1", False, False),
    ]
    nothing = (-2.0, -1.0, -3.0)
    assert several([("class 2", "class 0"), ()], nothing) == [
        ("0", "class 0", False, False),
        ("0", "class 2", False, False),
        ("1", "class 1", False, True),
    ]
    assert several(None, nothing) == [("0", "class 1", False, None)]


@pytest.mark.parametrize("patch", [1, 2])
def test_prototypes_start_as_patches_of_their_own_class(patch):
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=3, channels=6, patch=patch).eval()
    setup = TrainingSet(data, data, data.subset([]), batch_size=5)
    assert start_from_patches(net, setup) == {"images": 9}
    with torch.no_grad():
        images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(len(data))])
        similarities = net(images).similarities
    for prototype in range(9):
        own = data.labels == prototype // 3
        assert similarities[own, prototype].max() > 0.999
    before = net.prototypes.clone()
    start_from_patches(net, setup)
    assert torch.equal(before, net.prototypes)


def test_the_add_on_starts_as_principal_components():
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=3, channels=3).eval()
    row = principal_add_on(net, TrainingSet(data, data, data.subset([]), batch_size=5))
    with torch.no_grad():
        images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(len(data))])
        raw = net.backbone(images).transpose(0, 1).flatten(1).double()
        found = net.features(images).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(found.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
    variances = torch.linalg.svdvals(raw - raw.mean(1, keepdim=True)).square() / raw.shape[1]
    torch.testing.assert_close(torch.cov(found, correction=0), torch.diag(variances[:3]), atol=1e-5, rtol=1e-3)
    assert row["variance_kept"] == pytest.approx((variances[:3].sum() / variances.sum()).item(), rel=1e-4)


@pytest.mark.parametrize("counter", [0, 1, 3])
def test_what_speaks_for_the_runner_up_sums_to_its_logit(projected, counter):
    net, data = projected
    torch.manual_seed(1)
    with torch.no_grad():
        net.last_layer.weight.add_(torch.randn(3, 6))
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 9, 17)])
    with torch.no_grad():
        prediction = net(images)
    for place, found in enumerate(explain(net, images, "abc", pictures, LOCALIZERS, top=2, counter=counter)):
        first, second = prediction.logits[place].topk(2).indices.tolist()
        points = (prediction.similarities[place] * net.last_layer.weight.detach()[first]).tolist()
        theirs = (prediction.similarities[place] * net.last_layer.weight.detach()[second]).tolist()
        assert found.runner_up == net.classes[second]
        assert [each.points for each in found.counter] == pytest.approx(
            sorted(theirs, reverse=True)[:counter], rel=1e-5
        )
        assert sum(each.points for each in found.counter) + found.counter_other_points == pytest.approx(
            found.runner_up_logit, rel=1e-5
        )
        assert [each.points for each in found.against] == pytest.approx(
            [each for each in sorted(points)[:counter] if each < 0], rel=1e-5
        )
        shown = {each.prototype.record.prototype for each in found.matches}
        own = [points[number] for number in range(6) if number // 2 == first and number not in shown]
        assert found.other_own_points == pytest.approx(sum(own), rel=1e-4, abs=1e-6)
        for each in found.counter:
            alone = LOCALIZERS["similarity"](
                net, images[place : place + 1], torch.tensor([each.prototype.record.prototype])
            )
            np.testing.assert_allclose(each.maps["similarity"], alone[0].numpy(), atol=1e-5)
        assert f"{found.runner_up_logit:.3f}" in found.text()
        assert {each["prototype"] for each in found.to_json()["counter"]} == {
            each.prototype.record.prototype for each in found.counter
        }


def test_answers_and_maps_that_are_no_numbers_are_errors(projected):
    net, data = projected
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 1)])
    broken = {"mine": lambda network, images, index, progress=False: images[:, 0] * torch.nan}
    with pytest.raises(InputError, match="'mine' is not finite"):
        picture_prototypes(net, data, broken)
    with pytest.raises(InputError, match="'mine' is not finite"):
        explain(net, images, ["one", "two"], pictures, broken)
    with torch.no_grad():
        net.last_layer.weight.fill_(3e38)
    with pytest.raises(InputError, match="one: the network answers NaN or infinity"):
        explain(net, images, ["one", "two"], pictures, LOCALIZERS)
    with pytest.raises(InputError, match="the network answers NaN or infinity"):
        performance(net, data, TrainingSet(data, data, data.subset([])))


@pytest.mark.parametrize("top, counter", [(50, 50), (None, 0), (1, 1)])
def test_prototypes_of_other_classes_are_no_reasons_where_evidence_is_positive(top, counter):
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(
        ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6, evidence="positive"
    ).eval()
    project(net, TrainingSet(data, data, data.subset([])))
    with torch.no_grad():
        net.last_layer.weight[0] = 0  # a class that nothing speaks for
    pictures = picture_prototypes(net, data, LOCALIZERS)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 9, 17)])
    for found in explain(net, images, "abc", pictures, LOCALIZERS, top=top, counter=counter):
        assert 1 <= len(found.matches) <= 2 and all(each.weight > 0 for each in found.matches)
        assert len(found.counter) <= min(counter, 2) and all(each.weight > 0 for each in found.counter)
        assert {each.prototype.record.class_name for each in found.matches} == {found.predicted}
    with torch.no_grad():
        net.last_layer.weight.zero_()
        similarities = net(images).similarities
    for place, found in enumerate(explain(net, images, "abc", pictures, LOCALIZERS, top=top)):
        (match,) = found.matches
        own = [number for number in range(6) if net.classes[number // 2] == found.predicted]
        assert match.prototype.record.prototype == max(own, key=similarities[place].__getitem__), "one of its own"


def test_of_equal_logits_the_class_is_explained_that_counts_as_the_answer():
    data = ColourImages(2, classes=6)
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, channels=6).eval()
    project(net, TrainingSet(data, data, data.subset([])))
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in (0, 9)])
    pictures = picture_prototypes(net, data, LOCALIZERS)
    for equal in ([0, 1, 2, 3, 4, 5], [1, 2, 4, 5], [3, 5]):
        with torch.no_grad():
            net.last_layer.weight.fill_(-1)
            net.last_layer.weight[equal] = 0.5
            assert net(images).logits.argmax(1).tolist() == [equal[0]] * 2
        for found in explain(net, images, "ab", pictures, LOCALIZERS):
            assert (found.predicted, found.runner_up) == (net.classes[equal[0]], net.classes[equal[1]])


def test_a_warning_about_a_map_names_the_picture_and_the_prototype(projected):
    net, data = projected
    quick = {"mdm": get_localizer("mdm:keep.steps=2,order.steps=1")}
    pictures = picture_prototypes(net, data, LOCALIZERS)
    dark = torch.zeros(2, 3, 16, 16)  # as the empty image
    with pytest.warns(
        NothingToKeepWarning, match=r", in new/a.png, prototype \d \(.*, empty .*\), .*b.png, prototype \d \("
    ):
        explain(net, dark, ["new/a.png", "new/b.png"], pictures, quick, top=1, counter=0)
    own = picture_prototypes(net, data, LOCALIZERS, index=[4])[0].record.source
    data.pixels[int(net.source_positions[4])] = 0
    with pytest.warns(NothingToKeepWarning, match=rf", in {own}, prototype 4 \("):
        picture_prototypes(net, data, quick, index=[4])


def test_maps_are_named_where_they_are_asked_for_and_nowhere_else():
    with pytest.raises(ValueError), named_maps("ab".__getitem__):
        assert name_of_map(1, 3, "0.2 kept") == "b (0.2 kept)"
        raise ValueError
    assert name_of_map(1, 3, "0.2 kept") == "image 1 (index 3: 0.2 kept)"


def test_of_maps_nobody_asked_about_nothing_is_said():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for nobody in (True, False, True):
            with maps_nobody_asked_about(nobody):
                warnings.warn("of the localizer itself", stacklevel=1)  # once, whatever is left out between
                with maps_nobody_asked_about(False):  # within, it stays so
                    about_maps(NothingToKeepWarning, f"nobody: {nobody}")
    assert [str(each.message) for each in said] == ["of the localizer itself", "nobody: False"]
    assert {each.filename for each in said} == {__file__}
