"""Localizers of a plain classifier against each other, and judged by a second network."""

import json
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from protomask import InputError, compare
from protomask.cli import main
from protomask.errors import NothingToKeepWarning, NotLogitsWarning
from protomask.evaluation.cases import Case
from protomask.evaluation.variants import IMAGE
from protomask.explainable import Classifier
from protomask.localization.compare import JudgedClassifier, _score_of
from protomask.localization.judge_classes import judge_numbers
from protomask.localization.preprocessing import Preprocessing
from protomask.localizers import (
    LRP,
    MDM,
    RISE,
    CenterMap,
    GradCAM,
    Keep,
    Order,
    RandomMap,
    get_localizers,
)
from protomask.localizers.captum_methods import Occlusion
from protomask.metrics import insertion, kept_by_first

PLAIN = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "image_size": 32}


class Corner(nn.Module):
    """Class 1 is a bright upper left corner (or, mirrored, a right one), class 0 its lack."""

    def __init__(self, mirrored=False):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.mirrored = mirrored

    def forward(self, images):
        images = images.flip(3) if self.mirrored else images
        evidence = self.weight * images[:, :, :8, :8].mean((1, 2, 3))
        return torch.stack([-evidence, evidence], 1)


class Left:
    """A map of the upper left corner."""

    def __call__(self, explained, images, index, *, progress=False):
        maps = torch.zeros(len(images), *images.shape[-2:])
        maps[:, :8, :8] = 1
        return maps


def photographs(count=4):
    pictures = np.random.default_rng(0).integers(60, 120, (count, 32, 32, 3), dtype=np.uint8)
    pictures[:, :8, :8] = 250
    return list(pictures)


def means(found):
    return {(row["localizer"], row["metric"]): row["mean"] for row in found.rows}


def test_the_map_of_the_evidence_wins_and_probabilities_stay_as_they_are():
    found = compare(Corner(), photographs(), ["occlusion", "random"], **PLAIN)
    mean = means(found)
    assert mean["occlusion", "insertion"] > mean["random", "insertion"]
    assert mean["occlusion", "deletion"] < mean["random", "deletion"]
    # insertion is RISE's area under probabilities, not divided by the image's own
    images = (torch.from_numpy(np.stack(photographs())).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    classifier = Classifier(Corner(), "probability")
    index = torch.ones(4, dtype=torch.long)
    by_hand = insertion(classifier.score, images, index, Left()(None, images, index)).auc.mean().item()
    assert mean["occlusion", "insertion"] == pytest.approx(by_hand, abs=0.05)
    assert found.classes == ["class 1"] * 4


def test_localizers_by_name_are_those_that_are_measured():
    options = {"metrics": ["insertion", "deletion"], "index": 1, **PLAIN}
    by_name = compare(Corner(), photographs(), "center:width=0.1,random", **options)
    own = {"mine": CenterMap(width=0.1), "center": RandomMap(), "by word": "center:width=0.1"}
    found = compare(Corner(), photographs(), own, **options)
    assert found.localizers == list(own)
    assert found.values["mine"] == found.values["by word"] == by_name.values["center:width=0.1"]
    assert found.values["center"] == by_name.values["random"] != by_name.values["center:width=0.1"]
    several = compare(Corner(), photographs(), [CenterMap(width=0.1), Left()], **options)
    assert several.localizers == ["centermap", "left"]
    with pytest.raises(InputError, match="not localizers by name; for example mdm,similarity"):
        get_localizers(own)
    with pytest.raises(InputError, match="is a class"):
        compare(Corner(), photographs(), {"mine": CenterMap}, **options)


@pytest.mark.parametrize(
    "name, localizer, kind",
    [
        ("gradcam:layer=x", GradCAM("x"), "logit"),
        ("mine", GradCAM("x"), "logit"),
        ("gradcam", MDM(), "log-probability"),
        ("mine", Left(), "log-probability"),
        ("rise", RISE(), "probability"),
        ("prp", LRP(), "log-probability"),
    ],
)
def test_localizers_explain_the_score_that_they_were_published_for(name, localizer, kind):
    assert _score_of(name, localizer) == kind


def test_warnings_of_maps_name_the_photograph_once(tmp_path):
    for place, pixels in enumerate(photographs(2)):
        pixels = np.zeros_like(pixels) if place else pixels  # no evidence for class 1 in the second
        Image.fromarray(pixels).save(tmp_path / f"bird {place}.png")
    mask = {"mdm": MDM(keep=Keep(steps=1), order=Order(steps=0))}
    with pytest.warns(NothingToKeepWarning) as said:
        compare(Corner(), tmp_path, mask, index=1, metrics=["deletion", "average_drop", "steadiness"], **PLAIN)
    texts = [str(each.message) for each in said]
    assert len(texts) == 1 and "bird 1.png, class 1 (" in texts[0] and "image 1" not in texts[0]


def test_a_judge_confirms_only_what_it_sees_too():
    bright = [pixels.copy() for pixels in photographs()]
    for pixels in bright:
        pixels[:8, -8:] = 250
    same = compare(Corner(), bright, "occlusion", judge=Corner(), judge_preprocessing=_words(), **PLAIN)
    other = compare(Corner(), bright, "occlusion", judge=Corner(True), judge_preprocessing=_words(), **PLAIN)
    assert means(same)["occlusion", "judge_kept"] > 0.9
    assert means(other)["occlusion", "judge_kept"] < means(same)["occlusion", "judge_kept"]
    assert means(same)["occlusion", "judge_insertion"] == pytest.approx(means(same)["occlusion", "insertion"], abs=1e-6)


def test_another_judge_costs_no_map_and_nothing_of_the_network_itself(tmp_path, monkeypatch):
    options = {"cache": tmp_path, "metrics": ["insertion", "average_drop", "judge_insertion"], **PLAIN}

    def judged(judge):
        return compare(Corner(), photographs(), "occlusion", judge=judge, judge_preprocessing=_words(), **options)

    first = judged(Corner())
    for name in ("insertion", "kept", "saliency"):
        monkeypatch.setattr(Case, name, property(lambda case: pytest.fail("measured again")))
    assert means(judged(Corner())) == means(first)
    monkeypatch.setattr(Case, "saliency", property(lambda case: case.maps(IMAGE)))  # found among those kept
    monkeypatch.setattr(Occlusion, "__call__", lambda *given, **options: pytest.fail("localised again"))
    fainter = Corner()
    fainter.weight.data.mul_(0.1)
    second = judged(fainter)
    assert second.values["occlusion"]["insertion"] == first.values["occlusion"]["insertion"]
    assert means(second)["occlusion", "judge_insertion"] < means(first)["occlusion", "judge_insertion"]


class Named(nn.Module):
    """Corner among three classes, numbered in an order of its own, with their names."""

    def __init__(self, names, order=(0, 1, 2)):
        super().__init__()
        self.corner, self.order = Corner(), list(order)
        self.config = SimpleNamespace(id2label=dict(enumerate(names)))

    def forward(self, images):
        logits = self.corner(images)
        return torch.cat([logits, logits[:, :1] - 1], 1)[:, self.order]


def judged(model, judge, **options):
    options = {"localizers": "occlusion", "metrics": ["judge_deletion", "judge_kept"], **options, **PLAIN}
    return compare(model, photographs(), judge=judge, judge_preprocessing=_words(), **options)


def test_a_judge_of_another_order_is_asked_for_the_class_of_the_same_name(tmp_path):
    names = ["no corner", "a_corner", "crane"]
    model, alike = Named(names), Named(names)
    other = Named(["crane", "No corner", "a corner"], order=(2, 0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judged(model, alike, cache=tmp_path)
        assert means(judged(model, other)) == means(found)
        # Own names tell it, where those that were given are of another language.
        assert means(judged(model, other, labels=["keine Ecke", "Ecke", "Kranich"])) == means(found)
        # A judge that is known by its weights alone would be taken for the one before.
        alike.config.id2label = {0: "crane", 1: "no corner", 2: "a corner"}
        assert means(judged(model, alike, cache=tmp_path)) != means(found)


@pytest.mark.parametrize(
    "names, judge, says",
    [
        (["cat", "dog", "bird"], ["dog", "cat", "fish"], "no single one, called 'bird' as class 2 of the model is"),
        (["cat", "crane", "crane"], ["crane", "crane", "cat"], "called 'crane'"),
        (["cat", "dog", "dog"], ["dog", "cat", "fish"], "called 'dog' as class 2"),
        ({0: "cat", 1: "dog"}, ["dog", "cat", "fish"], "another order than the model, whose class 2 has no name"),
    ],
)
def test_a_judge_that_lacks_a_class_is_refused(names, judge, says):
    model = Named(names) if isinstance(names, list) else Named([])
    with pytest.raises(InputError, match=says):
        judged(model, Named(judge), labels=names)


@pytest.mark.parametrize(
    "names, judge, says",
    [
        (["tench", "crane", "maillot"], ["tench, Tinca tinca", "crane", "maillot, tank suit"], None),
        (["crane", "crane", "cat"], ["crane", "crane", "Cat"], None),
        (["LABEL_0", "LABEL_1", "LABEL_2"], ["cat", "dog", "fish"], None),
        ([], ["cat", "dog", "fish"], None),
        (["crane bird", "dog", "cat"], ["crane", "dog", "cat"], "some classes .*'crane' for 'crane bird'"),
        (["cat", "car", "dog"], ["cat", "automobile", "dog"], "some classes .*'automobile' for 'car'"),
        (["Katze", "Hund", "Fisch"], ["cat", "dog", "fish"], "its classes .*'cat' for 'Katze'.*same order"),
    ],
)
def test_names_that_differ_do_not_refuse_a_judge_of_the_same_order(names, judge, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert judge_numbers(dict(enumerate(names)), {}, dict(enumerate(judge)), 3) is None
    assert [bool(re.search(says or "", str(warning.message))) for warning in caught] == [True] * (says is not None)


def test_the_judge_gets_its_own_normalisation_and_size():
    class Mean(nn.Module):
        def forward(self, images):
            self.seen = images
            return torch.stack([images.mean((1, 2, 3)), images.new_zeros(len(images))], 1)

    judge = Mean()
    first, second = Preprocessing(32, (0.5,) * 3, (0.25,) * 3), Preprocessing(16, (0.0,) * 3, (1.0,) * 3)
    explained = JudgedClassifier(Corner(), first, judge, second)
    pixels = torch.rand(2, 3, 32, 32)
    explained.judge_score((pixels - 0.5) / 0.25, torch.zeros(2, dtype=torch.long))
    assert judge.seen.shape == (2, 3, 16, 16)
    torch.testing.assert_close(judge.seen.mean(), pixels.mean(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("channels, judge_channels", [(3, 1), (1, 3)])
def test_a_judge_of_other_channels_sees_the_same_photographs(channels, judge_channels):
    def statistics(count):
        return {"mean": (0.5,) * count, "std": (0.25,) * count, "image_size": 32}

    coloured = [pixels * np.array([1, 0.5, 0.2]) for pixels in photographs()]
    coloured = [pixels.astype(np.uint8) for pixels in coloured]
    options = {"localizers": "center", "index": 1}
    judge = {"judge": Corner(), "judge_preprocessing": statistics(judge_channels), "metrics": ["judge_deletion"]}
    found = compare(Corner(), coloured, **options, **judge, **statistics(channels))
    grey = compare(Corner(), coloured, **options, metrics=["deletion"], **statistics(1))
    assert means(found)["center", "judge_deletion"] == pytest.approx(means(grey)["center", "deletion"], abs=2e-3)


def test_what_the_first_pixels_keep_by_hand():
    torch.manual_seed(0)
    images, maps = torch.rand(2, 3, 16, 16), torch.rand(2, 16, 16)
    index = torch.zeros(2, dtype=torch.long)

    def score(images, index):
        return images.mean((1, 2, 3)) + images[:, 0, 0, 0]

    from protomask.metrics import rise_blur

    found = kept_by_first(score, images, index, maps, share=0.25, batch_size=1)
    for place in range(2):
        level = maps[place].flatten().sort(descending=True).values[63]
        shown = torch.where(maps[place] >= level, images[place], rise_blur(images)[place])
        expected = min(score(shown[None], index[:1]).item() / score(images[place][None], index[:1]).item(), 1)
        assert found[place].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "images, settings, says",
    [
        ([], {}, "no pictures"),
        (None, {"index": 5}, "there is no class 5; the model has 2"),
        (None, {"metrics": ["judge_kept"]}, "second network"),
        (
            None,
            {"judge": nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), "judge_preprocessing": {**PLAIN}},
            "3 classes",
        ),
        (None, {"localizers": "mmd"}, "mdm"),
    ],
)
def test_what_cannot_be_is_said(images, settings, says):
    settings = {"localizers": "random", **PLAIN, **settings}
    with pytest.raises(InputError, match=says):
        compare(Corner(), photographs() if images is None else images, **settings)


def test_models_and_judges_that_end_in_softmax_are_said():
    softmax = {"localizers": "random", "metrics": ["deletion"], **PLAIN}
    twice = nn.Sequential(Corner(), nn.Softmax(1))
    with pytest.warns(NotLogitsWarning, match="Sequential seems to give probabilities"):
        compare(twice, photographs(), **softmax)
    with pytest.warns(NotLogitsWarning, match="Sequential seems to give probabilities"):
        compare(Corner(), photographs(), judge=twice, judge_preprocessing=PLAIN, **softmax)


def test_a_torch_dataset_is_compared():
    data = TensorDataset(torch.from_numpy(np.stack(photographs())).permute(0, 3, 1, 2), torch.tensor([0, 1, 0, 1]))
    found = compare(Corner(), data, "center,random", metrics=["insertion"], **PLAIN)
    assert found.localizers == ["center", "random"] and len(found.pairs) == 4


def test_the_command_measures_and_writes(tmp_path, capsys):
    import timm

    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", num_classes=3).state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    for place, pixels in enumerate(photographs(3)):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{place}.png")
    words = [
        "compare",
        str(tmp_path / "pictures"),
        "--model",
        "test_resnet",
        "--weights",
        str(tmp_path / "weights.safetensors"),
    ]
    words += ["--localizers", "gradcam,random", "--image-size", "32", "--output", str(tmp_path / "found"), "--quiet"]
    judge = ["--judge", "test_resnet", "--judge-weights", str(tmp_path / "weights.safetensors")]
    assert main([*words, *judge]) == 0
    printed = capsys.readouterr().out
    assert "judge_kept" in printed and "gradcam - random" in printed and "verdict" in printed
    content = json.loads((tmp_path / "found" / "compare.json").read_text())
    assert {row["localizer"] for row in content["rows"]} == {"gradcam", "random"}
    assert main(["compare", str(tmp_path / "nothing"), "--model", "test_resnet"]) == 2
    assert main([*words, *judge[2:]]) == 2
    assert "--judge-weights is for --judge" in capsys.readouterr().err.splitlines()[-1]


def test_random_weights_are_pointed_out(tmp_path, capsys):
    Image.fromarray(photographs(1)[0]).save(tmp_path / "one.png")
    words = ["compare", str(tmp_path / "one.png"), "--model", "test_resnet", "--localizers", "center"]
    words += ["--judge", "test_resnet", "--metrics", "deletion", "--image-size", "32", "--quiet"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "--model test_resnet has random weights" in said and "--judge test_resnet has random weights" in said


def _words():
    return {"mean": PLAIN["mean"], "std": PLAIN["std"], "size": 32}


def test_a_model_that_overflows_is_an_error_whatever_class_is_asked_for():
    model = Corner()
    nn.init.constant_(model.weight, 3e38)
    for multi_label in (False, True):
        for index in (None, 1):
            with pytest.raises(InputError, match="NaN or infinity"):
                compare(model, photographs(), ["center"], index=index, multi_label=multi_label, **PLAIN)


def deep(path):
    """12 bits in 16, and the picture of 8 bits that it is through 0..2047."""
    shades = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(shades).save(path)
    return np.rint(shades.clip(0, 2047) / 2047 * 255).astype(np.uint8)


def test_deep_greys_are_compared_through_the_range_that_is_given(tmp_path):
    plain = deep(tmp_path / "deep.png")
    words = {"localizers": ["center"], "metrics": ["insertion", "deletion"], **PLAIN}
    found = compare(Corner(), tmp_path / "deep.png", intensity_range=(0, 2047), **words)
    assert (
        means(found)
        == means(compare(Corner(), plain, **words))
        != means(compare(Corner(), tmp_path / "deep.png", **words))
    )
    with pytest.raises(InputError, match="intensity_range"):
        compare(
            Corner(), TensorDataset(torch.rand(4, 3, 32, 32), torch.zeros(4).long()), intensity_range=(0, 1), **words
        )


class OneAtATime(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4, 2)

    def forward(self, images):
        if len(images) != 1:
            raise RuntimeError("one image, please")
        return self.head(self.convolution(images).relu().mean((2, 3)))


def test_a_model_that_takes_one_image_at_a_time_is_compared():
    words = ["rise:masks=6", "integrated-gradients:steps=2", "gradcam", "mdm:keep.steps=1,order.steps=1"]
    found = compare(OneAtATime(), photographs(2), words, batch_size=1, metrics=["deletion", "average_drop"], **PLAIN)
    assert found.localizers == words


class Opposite(Classifier):
    def logits(self, images):
        return -super().logits(images)


@pytest.mark.parametrize("judged", [False, True])
def test_a_classifier_of_ones_own_class_is_compared_by_its_logits(judged):
    statistics = {"mean": PLAIN["mean"], "std": PLAIN["std"]}
    seen = []

    def method(explained, images, index):
        seen.append((type(explained), explained.kind))
        return torch.rand(len(images), 32, 32)

    options = {"metrics": ["judge_deletion" if judged else "deletion"], "image_size": 32}
    if judged:
        options["judge"] = Opposite(Corner(), **statistics)  # knows its normalisation, and remains of its class
        options["judge_preprocessing"] = None
    found = compare(Opposite(Corner(), **statistics), photographs(), {"mine": method}, **options)
    assert found.classes == ["class 0"] * 4 and set(seen) == {(Opposite, "log-probability")}
    if judged:
        plain = compare(
            Corner(),
            photographs(),
            {"mine": method},
            index=0,
            judge=Corner(),
            judge_preprocessing=_words(),
            metrics="judge_deletion",
            **PLAIN,
        )
        assert means(found)["mine", "judge_deletion"] > means(plain)["mine", "judge_deletion"] + 0.1
