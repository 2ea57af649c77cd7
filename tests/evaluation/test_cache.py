"""What an evaluation keeps on disk, and how it goes on after an interruption."""

import importlib
import json
import linecache
import logging
import math
import py_compile
import shutil
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import protomask
from protomask.backbones import build_backbone
from protomask.code_digests import code_digest, code_of_kind
from protomask.errors import InputError
from protomask.evaluation import (
    METRICS,
    Oracle,
    Pairs,
    choose_pairs,
    choose_prototype_pairs,
    choose_similar_pairs,
    choose_source_pairs,
    evaluate,
)
from protomask.evaluation.cases import Case
from protomask.evaluation.catalogue import Metric
from protomask.evaluation.own_metrics import told_by
from protomask.evaluation.store import MEASURING, Store, image_names, open_stores
from protomask.evaluation.summaries import range_of
from protomask.explainable import Classifier
from protomask.files import text_digest
from protomask.fingerprints import fingerprint
from protomask.held_contents import held_contents
from protomask.localization.compare import JudgedClassifier, PublishedScore
from protomask.localization.preprocessing import Preprocessing
from protomask.score_fingerprints import fingerprint_of_scores
from tests.evaluation.test_evaluate import HALF, SIZE, Quadrants, TilesWithParts, TilesWithPoints, quadrant
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet

CALLS: list[int] = []


@dataclass(frozen=True)
class Counting:
    """The quadrant of the prototype; counts the maps it makes, and is interrupted after ``limit`` of them."""

    setting: int = 0
    limit: int = 10**6

    def __call__(self, explained, images, index, *, progress=False):
        if len(CALLS) >= self.limit:
            raise KeyboardInterrupt
        CALLS.extend(index.tolist())
        saliency = torch.stack([quadrant(int(p)).float() for p in index]) * (0.5 + 0.1 * images[:, 0])
        rows, columns = 3 + HALF * (index // 2), 3 + HALF * (index % 2)
        saliency[torch.arange(len(index)), rows, columns] = 1  # the peak is in the middle
        return saliency

    def __repr__(self):
        return f"Counting(setting={self.setting})"


@pytest.fixture(autouse=True)
def fresh():
    CALLS.clear()


@pytest.fixture(scope="module")
def network():
    return Quadrants()


def run(network, cache, localizer=None, data=None, **options):
    data = data or TilesWithPoints()
    options = {"metrics": ["insertion", "iou_best", "top_part"], **options}
    return evaluate(
        network,
        data,
        {"counting": localizer or Counting()},
        choose_pairs(network, data, 10),
        batch_size=4,
        cache=cache,
        **options,
    )


def test_nothing_is_computed_twice(network, tmp_path, monkeypatch):
    first = run(network, tmp_path)
    assert len(CALLS) == 10
    monkeypatch.setattr(Quadrants, "score", lambda self, images, index: pytest.fail("scored again"))
    again = run(network, tmp_path)
    assert len(CALLS) == 10
    for field in ("rows", "comparisons", "values", "curves"):
        assert getattr(again, field) == getattr(first, field)


def test_another_metric_costs_no_localisation(network, tmp_path):
    run(network, tmp_path)
    found = run(network, tmp_path, metrics=["deletion", "energy_mask"])
    assert len(CALLS) == 10 and found.metrics == ["deletion", "energy_mask"]
    assert found.values == run(network, None, metrics=["deletion", "energy_mask"]).values


def test_maps_under_the_noise_that_was_too_strong_are_not_taken_from_an_older_cache(network, tmp_path):
    first = run(network, tmp_path, metrics=["steady_tenth"])
    stores = open_stores(tmp_path, network, {"counting": Counting()})["counting"]
    names = [name for name in stores.maps._files if "noise" in name]
    stores.maps.put({name.split("/")[0] + "/unseen noise": torch.zeros(SIZE, SIZE) for name in names})
    for file in tmp_path.rglob("values-*/*.safetensors"):
        file.unlink()
    again = run(network, tmp_path, metrics=["steady_tenth"])
    assert len(names) == 10 and again.values == first.values and len(CALLS) == 20


def test_other_settings_weights_images_and_truths_are_computed_anew(network, tmp_path):
    run(network, tmp_path)
    run(network, tmp_path, Counting(setting=1))
    assert len(CALLS) == 20
    changed = Quadrants()
    changed.weights.data[0, 0, 0] += 1e-3
    run(changed, tmp_path)
    assert len(CALLS) == 30

    class Brighter(TilesWithPoints):
        def load(self, index):
            sample = super().load(index)
            sample["image"].add_(0.01)
            return sample

    run(network, tmp_path, data=Brighter())
    assert len(CALLS) == 40

    class OtherMasks(TilesWithPoints):
        def load(self, index):
            sample = super().load(index)
            sample["mask"] = 1 - sample["mask"]
            return sample

    other = run(network, tmp_path, data=OtherMasks(), metrics=["energy_mask"])
    assert len(CALLS) == 40  # the same images: the same maps
    assert (
        other.values["counting"]["energy_mask"]
        != run(network, tmp_path, metrics=["energy_mask"]).values["counting"]["energy_mask"]
    )


def greatest(case):
    return case.saliency.amax((1, 2))


def scaled(factor):
    return lambda case: factor * greatest(case)


class Scaled:
    """A measure that is no function; its factor is in its repr."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, case):
        return self.factor * greatest(case)

    def __repr__(self):
        return f"Scaled({self.factor})"


def test_a_metric_of_ones_own_that_was_changed_is_measured_anew(network, tmp_path, monkeypatch):
    def measured(measure, cache=tmp_path):
        monkeypatch.setitem(METRICS, "mine", Metric(measure, True))
        return run(network, cache, metrics=["mine"]).values["counting"]["mine"]

    kinds = [
        *(greatest, lambda case: 2 * greatest(case), lambda case, by=3: by * greatest(case), Scaled(4), Scaled(5)),
        *(METRICS["sparseness"].measure, METRICS["complexity"].measure),
        *(scaled(6), scaled(7), partial(lambda factor, case: factor * greatest(case), 8)),  # nobody can tell these
    ]
    expected = [measured(each, None) for each in kinds]
    assert len({tuple(each) for each in expected}) == len(kinds)
    CALLS.clear()
    for _ in range(2):
        assert [measured(each) for each in kinds] == expected
    assert len(CALLS) == 10, "no map is made again"
    with monkeypatch.context() as patch:
        patch.setattr(Case, "saliency", property(lambda case: pytest.fail("measured again")))
        assert [measured(each) for each in kinds[:7]] == expected[:7]


def test_what_a_metric_of_ones_own_calls_in_its_file_is_told(tmp_path, monkeypatch):
    file = tmp_path / "their_metric.py"
    monkeypatch.syspath_prepend(tmp_path)

    def told(code):
        file.write_text(code)
        linecache.clearcache()
        monkeypatch.delitem(sys.modules, "their_metric", raising=False)
        importlib.invalidate_caches()
        return told_by(importlib.import_module("their_metric").measure)

    code = "FACTOR = {}\n\n\ndef measure(case):\n    return FACTOR * case.saliency.amax((1, 2))\n"
    found = [told(code.format(factor)) for factor in ("1.5", "2.5", "1.5")]
    assert found[0] == found[2] != found[1] and None not in found
    typed: dict = {"__name__": "__typed__"}
    exec(code.format(1), typed)  # as in a notebook
    nowhere: dict = {}
    exec(code.format(1), nowhere)
    assert told_by(nowhere["measure"]) is None
    given = lambda case, by=torch.ones(2000): by  # noqa: E731
    other = lambda case, by=2 * torch.ones(2000): by  # noqa: E731
    assert told_by(given) != told_by(other)
    assert [told_by(each) for each in (typed["measure"], scaled(1), lambda case, by=object(): by, torch.sum)] == [
        None
    ] * 4


def test_the_catalogue_and_the_code_that_measures_are_told(network, tmp_path, monkeypatch):
    """A copy of the package stands in for an upgrade: its files are digested as they are found."""
    home = tmp_path / "protomask"
    shutil.copytree(Path(protomask.__file__).parent, home, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(protomask, "__file__", str(home / "__init__.py"))

    def values():
        return open_stores(tmp_path / "kept", network, {"counting": Counting()})["counting"].values._folder

    parts = ("batch", "cases", "catalogue", "maps", "measuring", "variants")
    files = [home / "evaluation" / f"{part}.py" for part in parts]
    files += [home / "labels.py", home / "data" / "parts_render.py"]
    found = [values()]
    for file in files:
        file.write_text(file.read_text() + "# another\n")
        found.append(values())
    assert len(set(found)) == len(files) + 1
    assert all(list(home.glob(each)) for each in MEASURING), "a file that was renamed would be missed"


@dataclass(frozen=True)
class UpperSide:
    """The middle of the upper left quadrant, or in bright images of the upper right one."""

    def __call__(self, explained, images, index, *, progress=False):
        CALLS.extend(index.tolist())
        saliency = torch.zeros(len(images), SIZE, SIZE)
        saliency[torch.arange(len(images)), 3, 3 + HALF * (images.mean((1, 2, 3)) > 1).long()] = 1
        return saliency


def test_corrected_labels_and_part_names_measure_anew_what_depends_on_them_alone(network, tmp_path, monkeypatch):
    pairs = Pairs(torch.arange(20), torch.arange(20) % 4)

    def measured(cache, data):
        metrics = ["insertion", "discrimination", "purity"]
        return evaluate(network, data, {"side": UpperSide()}, pairs, metrics=metrics, batch_size=4, cache=cache)

    first = measured(tmp_path, TilesWithPoints())
    corrected, renamed = TilesWithPoints(), TilesWithPoints()
    corrected.labels = torch.tensor([place // 10 for place in range(20)])
    renamed.part_names = ("left wing", "right wing", "beak", "hidden")
    expected = [measured(None, each) for each in (corrected, renamed)]
    CALLS.clear()
    monkeypatch.setattr(Case, "insertion", property(lambda case: pytest.fail("measured again")))
    found = [measured(tmp_path, each) for each in (corrected, renamed)]
    assert not CALLS, "no map is made again"
    for one, other in zip(found, expected):
        assert one.values == other.values and one.prototype_values == other.prototype_values
    ranked = [each.prototype_values["side"]["discrimination"] for each in (found[0], first)]
    assert ranked[0] != ranked[1]
    assert min(first.prototype_values["side"]["purity"]) < 1 == min(found[1].prototype_values["side"]["purity"])


def test_what_scores_depend_on_beside_the_weights_is_told_apart(tmp_path):
    torch.manual_seed(0)
    model, other = (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)) for _ in range(2))
    own = Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3)
    judged = [
        JudgedClassifier(model, own, judge, prepare)
        for judge, prepare in [(other, own), (model, own), (other, own._replace(std=(0.25,) * 3))]
    ]
    judged.append(JudgedClassifier(model, own, other, own._replace(image_size=2 * SIZE)))

    def stores(explained):
        return [store._folder for store in open_stores(tmp_path, explained, {"counting": Counting()})["counting"]]

    maps, values, by_judge = zip(*map(stores, judged))
    alone = stores(Classifier(model, "probability", mean=own.mean, std=own.std))
    assert set(maps) == {alone[0]} and set(values) == {alone[1]}, "one judge or another, or none"
    assert len({*by_judge, alone[1]}) == 5
    settings = [{"score": "logit"}, {"score": "probability"}, {"multi_label": True}, {"mean": own.mean, "std": own.std}]
    assert len({stores(Classifier(model, **each))[0] for each in settings}) == 4
    saved = [build_xprotonet(readout) for readout in ("relu", "shifted", "relu")]
    first, shifted, again = (stores(network)[0] for network in saved)
    assert first == again != shifted


def test_a_localizer_whose_code_changed_is_another_also_where_it_is_wrapped(tmp_path, monkeypatch):
    model, file = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)), tmp_path / "their_method.py"
    monkeypatch.syspath_prepend(tmp_path)

    def folder(code, wrap):
        file.write_text(code)
        linecache.clearcache()
        monkeypatch.delitem(sys.modules, "their_method", raising=False)
        importlib.invalidate_caches()
        made = importlib.import_module("their_method").Theirs()
        return open_stores(tmp_path / "kept", Classifier(model), {"theirs": wrap(made)})["theirs"][0]._folder

    code = "class Theirs:\n    def __repr__(self):\n        return 'Theirs()'\n    def __call__(self):\n        pass\n"
    for wrap in (lambda each: each, lambda each: PublishedScore(each, "logit")):
        first, second = folder(code, wrap), folder(code + "    steps = 3\n", wrap)
        assert first is not None and second not in (first, None)
    typed: dict = {"__name__": "__typed__"}
    exec(code, typed)  # as in a notebook
    for made in (typed["Theirs"](), PublishedScore(typed["Theirs"](), "logit")):
        assert open_stores(tmp_path / "kept", Classifier(model), {"theirs": made})["theirs"][0]._folder is None


def test_the_code_of_a_localizer_is_that_of_all_its_package_and_of_what_it_inherits(tmp_path, monkeypatch):
    model, package = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)), tmp_path / "their_package"
    (package / "inner" / "data").mkdir(parents=True)
    helper = package / "inner" / "helper.py"
    for file in (package / "__init__.py", package / "inner" / "__init__.py", helper):
        file.write_text("")
    (package / "method.py").write_text(
        "from dataclasses import dataclass\nfrom protomask.localizers.gradcam import GradCAM\n\n\n"
        "@dataclass(frozen=True)\nclass Theirs(GradCAM):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("their_package.method").Theirs()

    def folder():
        return open_stores(tmp_path / "kept", Classifier(model), {"theirs": made})["theirs"][0]._folder

    first = folder()
    (package / "notes.txt").write_text("no code")
    assert folder() == first is not None
    helper.write_text("steps = 3\n")
    second = folder()
    assert second not in (first, None)
    monkeypatch.setattr("protomask.code_digests.code_digest", lambda room: room.__name__)
    assert folder() != second, "the room of the class that it inherits from"
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


def test_the_code_of_a_module_below_folders_without_code_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "their_src" / "models"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    (folder / "net.py").write_text("class Net:\n    pass\n")
    kind = importlib.import_module("their_src.models.net").Net
    first = code_of_kind(kind)
    (folder / "layers.py").write_text("steps = 3\n")
    beside = code_of_kind(kind)
    assert None not in (first, beside) and first != beside, "what lies beside it"
    (folder.parent / "inner" / "deep").mkdir(parents=True)
    (folder.parent / "inner" / "deep" / "net.py").write_text("class Net:\n    pass\n")
    (folder.parent / "train.py").write_text("")
    deep = importlib.import_module("their_src.inner.deep.net").Net
    before = code_of_kind(deep)
    (folder.parent / "inner" / "deep" / "net.py").write_text("class Net:\n    steps = 3\n")
    linecache.clearcache()
    assert code_of_kind(deep) not in (before, None)
    for name in [name for name in sys.modules if name.startswith("their_src")]:
        del sys.modules[name]


@dataclass
class Holding:
    """Holds what its repr does not tell, or tells shortened."""

    held: object

    def __call__(self, explained, images, index, *, progress=False):
        raise NotImplementedError

    def __repr__(self):
        return "Holding()"


class Plain:
    """An object of somebody else's; no dataclass."""

    def __init__(self, held):
        self.held = held


class Tempered(nn.Module):
    """Its repr says nothing of its temperature, and its weights are none."""

    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature


def filled(value):
    return torch.full((64, 64), value)


def closing_over(value):
    return lambda: value


def weighted(value):
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    nn.init.zeros_(layer.bias)
    return layer


def test_weights_tensors_and_arrays_within_a_localizer_are_told_apart(tmp_path):
    def folder(held):
        maps, *_ = open_stores(tmp_path, Classifier(weighted(1.0)), {"holding": Holding(held)})["holding"]
        return maps._folder

    makers = {
        "tensor": filled,
        "bfloat16": lambda value: filled(value).bfloat16(),
        "array": lambda value: filled(value).numpy(),
        "module": weighted,
        "list": lambda value: [3, (weighted(value), "text")],
        "dict": lambda value: {"a": filled(value), "b": None},
        "object": lambda value: Plain(Plain(filled(value))),
        "attribute of a module": Tempered,
        "list in a module": lambda value: Tempered([1, [value]]),
        "dictionary in a module": lambda value: nn.Sequential(Tempered({"by": value})),
        "object in a module": lambda value: Tempered(Plain(value)),
        "module in a list in a module": lambda value: Tempered([weighted(value)]),
        "partial in a module": lambda value: Tempered(partial(nn.LayerNorm, eps=value)),
        "wrapped": lambda value: PublishedScore(Holding(filled(value)), "logit"),
    }
    kept = {name: [folder(make(value)) for value in (1.0, 1.0, 2.0)] for name, make in makers.items()}
    for name, (first, again, other) in kept.items():
        assert first == again and None not in (first, other) and first != other, name
    swapped = [{"a": filled(x), "b": filled(y)} for x, y in ((1.0, 2.0), (2.0, 1.0))]
    assert folder(swapped[0]) != folder(swapped[1])
    for unknown in (
        partial(filled, 1.0),
        filled,
        torch.Generator(),
        np.array([object()]),
        iter(()),
        filled(1.0).to_sparse(),
        *map(Tempered, (closing_over(1), partial(closing_over(1)), "text".join, [iter(())])),
    ):
        assert folder(unknown) is None, unknown
    assert folder(3) == folder("text"), "what its own repr leaves out on purpose"
    assert folder(nn.Parameter(filled(1.0))) is not None
    looped = Plain(None)
    looped.held = [looped]
    assert folder(looped) is not None


class Powered(nn.Module):
    """Its setting is in no weight and not in its repr."""

    def __init__(self, power):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.power, self.seen = nn.Conv2d(3, 2, 1), power, None

    def forward(self, images):
        self.seen = self.layer(images).relu() ** self.power
        return self._pooled()

    def _pooled(self):
        self.pooled = self.seen.mean((2, 3))
        return self.pooled


class Margin:
    """A score of one's own: how much more a class has than another one."""

    def __init__(self, model, than):
        self.model, self.than, self.asked = model, than, 0

    def score(self, images, index):
        self.asked += 1
        logits = self.model(images)
        return logits.gather(1, index[:, None])[:, 0] - logits[:, self.than]


class Doubled(Classifier):
    factor = 2

    def score(self, images, index):
        return super().score(images, index) * self.factor


def test_attributes_and_own_code_that_scores_depend_on_are_told_apart(tmp_path, monkeypatch):
    vits = [torchvision.models.VisionTransformer(16, 8, 1, heads, 8, 8, num_classes=2) for heads in (2, 4)]
    vits[1].load_state_dict(vits[0].state_dict())
    doubled = Doubled(Powered(1))
    tripled = Doubled(Powered(1))
    tripled.factor = 3
    for one, other in (
        (Classifier(Powered(1)), Classifier(Powered(3))),
        (Powered(1), Powered(3)),
        (Classifier(vits[0]), Classifier(vits[1])),
        (Margin(Powered(1), 0), Margin(Powered(1), 1)),
        (Margin(Powered(1), 0), Margin(Powered(3), 0)),
        (doubled, tripled),
    ):
        first = fingerprint_of_scores(one)
        assert first is not None and first != fingerprint_of_scores(other), type(one)
        if one.__class__ is not Powered:
            one.score(torch.rand(1, 3, 16, 16), torch.zeros(1, dtype=torch.long))
            assert fingerprint_of_scores(one) == first, "what a pass writes tells nothing"
    first = fingerprint_of_scores(Classifier(Powered(1)))
    with monkeypatch.context() as changed:
        changed.setattr("protomask.held_contents.code_of_kind", lambda kind: "other code")
        assert fingerprint_of_scores(Classifier(Powered(1))) != first
        changed.setattr("protomask.held_contents.code_of_kind", lambda kind: None)
        assert fingerprint_of_scores(Classifier(Powered(1))) is None
    assert fingerprint_of_scores(Classifier(Powered(closing_over(1)))) is None
    assert fingerprint_of_scores(Margin(Powered(1), closing_over(1))) is None


def test_an_upgrade_of_our_own_networks_makes_other_maps_but_no_other_explainers(tmp_path, monkeypatch):
    class Steeper(XProtoNet):
        """Of somebody's own."""

    def made(kind=XProtoNet):
        torch.manual_seed(0)
        return kind(build_backbone("test_resnet"), ["a", "b"], image_size=64, prototypes_per_class=2, channels=8)

    pooled = nn.Sequential(build_backbone("test_resnet"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own = Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3)
    explained = {
        "network": made(),
        "derived": made(Steeper),
        "backbone": Classifier(pooled),
        "judged": JudgedClassifier(Powered(1), own, Powered(2), own),
        "plain": Classifier(Powered(1)),
        "score": Margin(Powered(1), 0),
    }

    def folders():
        return {
            name: [store._folder for store in open_stores(tmp_path, each, {"counting": Counting()})["counting"]]
            for name, each in explained.items()
        }

    def changed(room, expected):
        with monkeypatch.context() as patch:
            patch.setattr("protomask.score_fingerprints._code_of_room", lambda each: "other" if each == room else each)
            after = folders()
            patch.setattr("protomask.score_fingerprints._code_of_room", lambda each: each)
            before = folders()
        assert {name for name in explained if after[name][0] != before[name][0]} == expected, expected
        return after, before

    changed("xprotonet", {"network", "derived"})
    changed("protomask.backbones", {"network", "derived", "backbone"})
    changed("torch", set())
    after, before = changed("protomask.localization", set())
    assert after["judged"][2] != before["judged"][2] and after["judged"][1] == before["judged"][1]
    first, told = folders(), {name: fingerprint_of_scores(each) for name, each in explained.items()}
    with monkeypatch.context() as patch:
        patch.setattr("protomask.score_fingerprints._code_called", lambda: "others")
        assert all(first[name][0] != other[0] for name, other in folders().items())
        patch.setattr("protomask.score_fingerprints._code_of_room", lambda each: "other")
        assert told == {name: fingerprint_of_scores(each) for name, each in explained.items()}
    assert folders() == first and None not in [each[0] for each in first.values()]


class Warmer(Classifier):
    """Its temperature is no setting."""

    def __init__(self, model, temperature):
        super().__init__(model, "probability")
        self.temperature = temperature

    def logits(self, images):
        return super().logits(images) / self.temperature


def test_a_judge_or_a_first_classifier_of_ones_own_class_is_told_by_its_attributes():
    own = Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3)
    model = Powered(1)
    plain, first, fifth = Classifier(model), Warmer(model, 1), Warmer(model, 5)
    pairs = [(plain, first), (plain, fifth), (first, plain), (fifth, plain), (fifth, fifth)]
    found = [[fingerprint_of_scores(JudgedClassifier(one, own, judge, own)) for one, judge in pairs] for _ in range(2)]
    assert found[0] == found[1] and None not in found[0] and len(set(found[0])) == 5
    unknown = Classifier(Powered(closing_over(1)))
    for one, judge in ((plain, unknown), (unknown, plain)):
        assert fingerprint_of_scores(JudgedClassifier(one, own, judge, own)) is None


def test_it_is_said_that_a_cache_is_not_used_since_nobody_can_tell_the_model(tmp_path):
    unknown = Classifier(Powered(closing_over(1)))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):  # as for several localizers
            assert open_stores(tmp_path, unknown, {"counting": Counting()})["counting"].maps._folder is None
    (line,) = (str(each.message) for each in said)
    assert line.startswith(f"the cache {tmp_path} is not used: ") and "the scores of Powered depend" in line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_stores(None, unknown, {"counting": Counting()})["counting"]
        open_stores(tmp_path, Classifier(Powered(1)), {"counting": Counting()})["counting"]


def test_a_compiled_model_is_told_alike_each_time_it_is_compiled():
    found = [fingerprint_of_scores(Classifier(torch.compile(Powered(power), backend="eager"))) for power in (1, 1, 3)]
    assert found[0] == found[1] not in (None, found[2])
    inner = [Powered(1) for _ in range(2)]
    for each in inner:
        each.compile(backend="eager")
    assert fingerprint_of_scores(inner[0]) == fingerprint_of_scores(inner[1]) is not None


def test_functions_and_what_else_ordinary_layers_hold_leave_them_told_apart():
    one, other = Powered(1), Powered(1)

    def told(held):
        return fingerprint_of_scores(Classifier(Powered(held)))

    def bound(power):
        model = Powered(power)
        model.chosen = model._pooled
        return fingerprint_of_scores(Classifier(model))

    different = [
        *(nn.functional.max_pool2d, nn.functional.avg_pool2d, torch.tanh, torch.Tensor.relu, math.sqrt, len),
        *(filled, weighted, lambda x: x, lambda x: 2 * x, lambda x, by=2: x * by, lambda x, by=3: x * by),
        *(lambda x: x in {"a", "b"}, partial(filled, 1.0), partial(filled, 2.0), nn.ReLU.forward),
        *(math, torch, one.forward, one._pooled, Plain.__init__),
        *(Tempered(1).children, torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)),
    ]
    found = [told(each) for each in different]
    assert None not in found and len(set(found)) == len(found)
    assert told(one.forward) == told(other.forward), "the same layers"
    assert told(logging.getLogger("a")) == told(logging.getLogger("b")) is not None
    assert bound(1) == bound(1) not in (None, bound(3))
    pair = [Classifier(nn.ModuleList([Powered(1), Powered(1), Tempered(None)])) for _ in range(2)]
    for place, classifier in enumerate(pair):
        classifier.model[2].temperature = classifier.model[place].forward
    assert fingerprint_of_scores(pair[0]) != fingerprint_of_scores(pair[1]), "the method of one layer or another"


def test_what_does_not_matter_to_ordinary_models_does_not_make_others_of_them():
    network = XProtoNet(build_backbone("test_resnet"), ["a", "b"], image_size=64, prototypes_per_class=2, channels=8)
    models = [
        torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 8, num_classes=2),
        timm.create_model("test_vit", img_size=64),
        timm.create_model("levit_128s", num_classes=2),
        torch.jit.trace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), torch.rand(1, 3, 4, 4)),
        torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())),
    ]
    for explained in (network, *map(Classifier, models)):
        first = fingerprint_of_scores(explained)
        assert first is not None
        root = explained if explained is network else explained.model
        if isinstance(root, torch.jit.ScriptModule | torch.fx.GraphModule):
            continue
        hook = root.register_forward_hook(lambda *given: None)
        size = {"levit_128s": 224, "test_vit": 64}.get(getattr(root, "default_cfg", {}).get("architecture"), 32)
        size = 64 if root is network else size
        with torch.no_grad():
            root.eval()(torch.rand(1, 3, size, size))
        assert fingerprint_of_scores(explained) == first, type(root)
        hook.remove()
    said = json.dumps(network.settings(), sort_keys=True, default=repr)
    assert fingerprint_of_scores(network).endswith(f"-{text_digest(said)}"), "runs of before find what they kept"


def test_ordinary_networks_within_a_localizer_can_be_told_apart():
    for network in (
        torchvision.models.vit_b_16(image_size=32, num_classes=2),
        nn.TransformerEncoderLayer(4, 2),
        timm.create_model("resnet10t"),
        XProtoNet(ToyBackbone(), ["a", "b"], image_size=64, prototypes_per_class=2, channels=8),
    ):
        before = held_contents(Holding(network))
        assert before == held_contents(Holding(network.train())) is not None  # a mode tells nothing
        hook = network.register_forward_hook(print)
        assert before == held_contents(Holding(network.eval()))
        hook.remove()


def test_a_localizer_that_was_trained_on_is_asked_anew(network, tmp_path):
    own = Shading(nn.Conv2d(3, 1, 1))
    first = run(network, tmp_path, own, metrics=["insertion"])
    nn.init.constant_(own.shade.weight, -3.0)
    again = run(network, tmp_path, own, metrics=["insertion"])
    assert first.values != again.values == run(network, None, own, metrics=["insertion"]).values


@dataclass(frozen=True)
class Shading:
    shade: nn.Module

    def __call__(self, explained, images, index, *, progress=False):
        with torch.no_grad():
            return self.shade(images)[:, 0].sigmoid()


@dataclass(frozen=True)
class OneMap:
    """One map for every image, and not in the order of its memory."""

    def __call__(self, explained, images, index, *, progress=False):
        rising = torch.linspace(0, 1, SIZE * SIZE).view(SIZE, SIZE).T
        return rising.expand(len(images), -1, -1)


def test_one_map_that_is_expanded_to_the_batch_is_kept(network, tmp_path):
    fresh, first, again = (run(network, cache, OneMap()) for cache in (None, tmp_path, tmp_path))
    assert fresh.values == first.values == again.values
    assert list(tmp_path.rglob("*.safetensors"))


def build_xprotonet(readout):
    torch.manual_seed(0)
    return XProtoNet(ToyBackbone(), ["a", "b"], image_size=16, readout=readout, scale=3.0).eval()


def test_an_interrupted_evaluation_goes_on_where_it_was(network, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(network, tmp_path, Counting(limit=5))  # two batches of four are done
    assert len(CALLS) == 8
    resumed = run(network, tmp_path)
    assert len(CALLS) == 10
    assert resumed.values == run(network, None).values


def test_a_damaged_file_is_made_again(network, tmp_path):
    first = run(network, tmp_path)
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    assert run(network, tmp_path).values == first.values and len(CALLS) == 20


def test_without_a_repr_of_its_own_nothing_is_kept(network, tmp_path):
    data = TilesWithParts()
    evaluate(
        network,
        data,
        {"function": lambda e, x, i: x[:, 0] / 2},
        choose_pairs(network, data, 4),
        metrics=["gain"],
        cache=tmp_path,
    )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_store_gives_all_or_nothing(tmp_path):
    store = Store(tmp_path / "new")
    store.put({"a": torch.tensor(1.5), "b": torch.tensor([torch.nan])})
    assert store.get(["a", "c"]) is None and "a" in store and "c" not in store
    again = Store(tmp_path / "new")
    assert again.get(["a"])[0].item() == 1.5 and again.get(["b"])[0].isnan()
    next((tmp_path / "new").glob("*")).unlink()
    assert again.get(["a"]) is not None or Store(tmp_path / "new").get(["a"]) is None
    assert Store(None).get(["a"]) is None


def test_fingerprints_and_names_follow_contents(network):
    assert fingerprint(network) == fingerprint(Quadrants()) and fingerprint(object()) is None
    images = torch.rand(2, 3, 4, 4)
    names = image_names(images, torch.tensor([0, 5]))
    assert names == image_names(images.clone(), torch.tensor([0, 5])) and len(set(names)) == 2
    assert image_names(images, torch.tensor([1, 5]))[0] != names[0]


class Anchored(nn.Module):
    """A network whose scores depend on a buffer that is not saved, and which adds to its state what is no tensor."""

    def __init__(self, anchor, extra="one"):
        super().__init__()
        self.extra = extra
        self.register_buffer("anchor", anchor, persistent=False)
        self.register_buffer("pairs", torch.eye(3).to_sparse())

    def get_extra_state(self):
        return {"extra": self.extra, "table": torch.ones(2000)}

    def set_extra_state(self, state):
        self.extra = state["extra"]


def test_fingerprints_follow_all_that_a_network_holds():
    first = Anchored(torch.tensor([1.0]))
    assert fingerprint(first) == fingerprint(Anchored(torch.tensor([1.0])))
    assert fingerprint(first) != fingerprint(Anchored(torch.tensor([2.0])))
    assert fingerprint(first) != fingerprint(Anchored(torch.tensor([1.0]), "other"))
    third = Anchored(torch.tensor([1.0]))
    third.pairs = 2 * third.pairs
    assert fingerprint(first) != fingerprint(third)


def test_the_fingerprints_of_ordinary_networks_stay():
    """Runs and explainers keep them."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    for value in network.state_dict().values():
        value.fill_(1)
    assert fingerprint(network) == "2ca7a671854d9fae"


def test_every_metric_of_the_catalogue_works_end_to_end(network, tmp_path):
    data = TilesWithPoints()
    pairs, several = choose_pairs(network, data, 8), choose_prototype_pairs(network, data, 40)
    found = evaluate(
        network,
        data,
        {"oracle": Oracle(), "counting": Counting()},
        pairs,
        metrics=["all"],
        prototype_pairs=several,
        batch_size=4,
        cache=tmp_path,
    )
    assert set(found.metrics) == {
        name for name, metric in METRICS.items() if metric.needs not in ("judge", "last layer")
    }
    for values in (*found.values.values(), *found.prototype_values.values()):
        for metric, each in values.items():
            least, most = range_of(metric)
            assert all(least - 1e-5 <= value <= most + 1e-5 for value in each if value is not None), metric
    mean = {(row["localizer"], row["metric"]): row["mean"] for row in found.rows}
    # The network is the mean of a quadrant: what the oracle and the counting localizer mark is all there is.
    assert mean["oracle", "causal_insertion"] == pytest.approx(mean["counting", "causal_insertion"], abs=1e-6)
    assert mean["counting", "misalignment"] > 0 and mean["oracle", "part_correlation"] == pytest.approx(1)
    assert mean["counting", "consistency"] == 75  # the fourth quadrant's part is invisible
    assert mean["counting", "purity"] == 0.75 and mean["counting", "stability"] == 100
    assert found.prototypes == [0, 1, 2, 3] and len(found.prototype_values["oracle"]["purity"]) == 4
    assert found.classes == [data.classes[label] for label in data.labels[pairs.positions]]


def test_prototype_pairs_are_several_images_of_the_own_class(network):
    data = TilesWithPoints()
    pairs = choose_prototype_pairs(network, data, 20, seed=1)
    assert len(pairs) == 20 and len(pairs.prototypes.unique()) == 2
    assert network.prototype_classes[pairs.prototypes].equal(data.labels[pairs.positions])
    assert network.prototype_classes[pairs.prototypes.unique()].tolist() == [0, 1]  # the classes take turns
    every = choose_prototype_pairs(network, data, 10**6)
    assert len(every) == 40 and len(set(zip(every.positions.tolist(), every.prototypes.tolist()))) == 40


def test_similar_pairs_are_the_most_similar_of_all_images(network):
    data = TilesWithPoints()
    found = choose_similar_pairs(network, data, torch.tensor([1, 3]), 5, batch_size=3)
    for prototype in (1, 3):
        scores = [float(network.score(data[i]["image"][None], torch.tensor([prototype]))) for i in range(len(data))]
        best = sorted(range(len(data)), key=lambda place: -scores[place])[:5]
        assert found.positions[found.prototypes == prototype].tolist() == sorted(best)
    assert len(set(data.labels[found.positions].tolist())) == 2  # whatever the class
    assert len(choose_similar_pairs(network, data, torch.tensor([0]), 100)) == len(data)


def test_purity_is_that_of_the_ten_most_similar_of_all_images(network):
    """Against a plain version that looks at every image, as PIP-Net's code does."""

    def corner(explained, images, index):
        """Looks at the first quadrant in bright images, at the second in the others."""
        maps = torch.zeros(len(images), SIZE, SIZE)
        for number, image in enumerate(images):
            maps[number, 3, 3 if image.mean() > 1 else 9] = 1
        return maps

    data, prototypes = TilesWithPoints(40), torch.tensor([0, 2, 3])
    own = choose_prototype_pairs(network, data, 10**6)
    kept = torch.isin(own.prototypes, prototypes)
    found = evaluate(
        network,
        data,
        {"corner": corner},
        choose_pairs(network, data, 4),
        metrics=["consistency", "purity"],
        prototype_pairs=Pairs(own.positions[kept], own.prototypes[kept]),
        similar_pairs=choose_similar_pairs(network, data, prototypes),
    )
    expected = []
    for prototype in prototypes.tolist():
        images = [data[place]["image"].as_subclass(torch.Tensor) for place in range(len(data))]
        scores = [float(network.score(image[None], torch.tensor([prototype]))) for image in images]
        ten = sorted(range(len(data)), key=lambda place: -scores[place])[:10]
        bright = sum(float(images[place].mean()) > 1 for place in ten)
        expected.append(max(bright, 10 - bright) / 10)  # a patch of 1.7 pixels holds the point of that quadrant alone
    assert found.prototype_values["corner"]["purity"] == pytest.approx(expected)
    assert found.prototypes == [0, 2, 3] and 0.5 < min(expected) < 1
    with pytest.raises(InputError, match="different prototypes"):
        evaluate(
            network,
            data,
            {"corner": corner},
            choose_pairs(network, data, 4),
            metrics=["consistency", "purity"],
            prototype_pairs=own,
            similar_pairs=choose_similar_pairs(network, data, torch.tensor([0])),
        )


def test_source_pairs_are_where_the_projection_went():
    network, data = Quadrants(), TilesWithPoints()
    with pytest.raises(Exception, match="not projected"):
        choose_source_pairs(network, data, 4)
    network.source_positions.copy_(torch.tensor([2, 4, 3, 1]))
    pairs = choose_source_pairs(network, data, 2)
    assert (
        isinstance(pairs, Pairs)
        and network.source_positions[pairs.prototypes].equal(pairs.positions)
        and len(pairs) == 2
    )


def test_code_is_told_where_only_compiled_files_are_installed(tmp_path, monkeypatch):
    package = tmp_path / "compiled_alone"
    package.mkdir()
    found = []
    for number in (1, 2, 1):
        (package / "__init__.py").write_text(f"NUMBER = {number}")
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # without the time
        py_compile.compile(str(package / "__init__.py"), str(package / "__init__.pyc"), invalidation_mode=mode)
        (package / "__init__.py").unlink()
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "compiled_alone", raising=False)
        importlib.invalidate_caches()
        found.append(code_digest(importlib.import_module("compiled_alone")))
    assert found[0] == found[2] != found[1]
