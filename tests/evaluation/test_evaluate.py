"""Localizers x metrics on a toy whose truth is known: prototype p looks at quadrant p of the image, nowhere else."""

import json
import re

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.evaluation import (
    HIGHER_IS_BETTER,
    METRICS,
    Evaluation,
    Pairs,
    available_metrics,
    choose_pairs,
    choose_prototype_pairs,
    choose_similar_pairs,
    evaluate,
)
from protomask.evaluation.pairs import draw_stratified
from protomask.evaluation.summaries import comparison_rows, mean_rows, range_of
from protomask.evaluation.tables import as_markdown, per_class
from protomask.explainable import Classifier
from protomask.localizers import get_localizer
from protomask.metrics.prototype_sets import discrimination
from protomask.prototype_network import Prediction, PrototypeNetwork

SIZE, HALF = 12, 6


def quadrant(number):
    """(SIZE, SIZE) bool"""
    region = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    y, x = divmod(number, 2)
    region[y * HALF : (y + 1) * HALF, x * HALF : (x + 1) * HALF] = True
    return region


class Quadrants(PrototypeNetwork):
    """Two classes with two prototypes each; similarity p is the mean brightness of quadrant p."""

    classes, image_size, mean, std = ("a", "b"), SIZE, (0, 0, 0), (1, 1, 1)

    def __init__(self):
        super().__init__()
        self.declare_prototypes(torch.tensor([0, 0, 1, 1]))
        self.weights = torch.nn.Parameter(torch.stack([quadrant(p) for p in range(4)]).float() / HALF**2)

    def forward(self, images):
        similarities = torch.einsum("bchw,phw->bp", images, self.weights) / 3
        return Prediction(similarities[:, :2], similarities, 1 - similarities)

    def score(self, images, index):
        return self(images).similarities.gather(1, index[:, None])[:, 0]

    def similarity_maps(self, images, index=None):
        """2 x 2 cells, the brightness of the prototype's own quadrant in its place, nothing elsewhere."""
        maps = torch.diag_embed(self(images).similarities).unflatten(2, (2, 2))
        return maps if index is None else maps[torch.arange(len(maps)), index]


class Tiles(AnnotatedImages):
    """Random bright images; the object's box and mask are the left half."""

    def __init__(self, count=20):
        labels = [i % 2 for i in range(count)]
        super().__init__(("a", "b"), labels, [f"tile {i}" for i in range(count)], transform=dict)

    def load(self, index):
        generator = torch.Generator().manual_seed(index)
        left = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
        left[..., :HALF] = 1
        boxes = tv_tensors.BoundingBoxes(torch.tensor([[0.0, 0, HALF, SIZE]]), format="XYXY", canvas_size=(SIZE, SIZE))
        image = tv_tensors.Image(torch.rand(3, SIZE, SIZE, generator=generator) + 0.5)
        return {"image": image, "boxes": boxes, "mask": tv_tensors.Mask(left)}


class TilesWithParts(Tiles):
    """Each quadrant is a part that can be removed; the last is never visible."""

    part_names = ("q0", "q1", "q2", "hidden")

    def part_masks(self, position):
        return torch.stack([quadrant(0), quadrant(1), quadrant(2), torch.zeros(SIZE, SIZE, dtype=torch.bool)])

    def without_part(self, position, part):
        return self.without_parts(position, [part])

    def without_parts(self, position, parts):
        sample = self[position]
        for part in parts:
            sample["image"] = tv_tensors.Image(sample["image"].as_subclass(torch.Tensor) * ~quadrant(part))
        return sample


class TilesWithPoints(TilesWithParts):
    """The parts' points are the middles of their quadrants."""

    def load(self, index):
        points = tv_tensors.KeyPoints([[3.5, 3.5], [9.5, 3.5], [3.5, 9.5], [9.5, 9.5]], canvas_size=(SIZE, SIZE))
        return super().load(index) | {"points": points, "visible": torch.tensor([True, True, True, False])}


class ScoreOnly:
    """The same score from something that is no module."""

    def __init__(self):
        self.score = Quadrants().eval().score


class NoTruth(Tiles):
    def load(self, index):
        sample = super().load(index)
        del sample["mask"]
        return sample | {"boxes": sample["boxes"][:0]}


def oracle(explained, images, index):
    return torch.stack([quadrant(int(p)) for p in index]).float()


def noise(explained, images, index):
    return torch.rand(len(images), SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def opposite(explained, images, index):
    return 1 - oracle(explained, images, index)


KNOWN = [name for name, metric in METRICS.items() if metric.needs != "judge"]
USUAL = [name for name in KNOWN if METRICS[name].usual]
LOCALIZERS = {"oracle": oracle, "noise": noise, "opposite": opposite}


@pytest.fixture(scope="module")
def network():
    return Quadrants().train()


@pytest.fixture(scope="module")
def found(network):
    data = TilesWithParts()
    return evaluate(network, data, LOCALIZERS, choose_pairs(network, data, 16), batch_size=5)


def row(found, localizer, metric):
    return next(row for row in found.rows if (row["localizer"], row["metric"]) == (localizer, metric))


def test_stratified_choice_takes_turns():
    labels = torch.tensor([0] * 50 + [1] * 3 + [3] * 10)
    chosen = draw_stratified(labels, 20, seed=1)
    assert labels[chosen].bincount().tolist() in ([9, 3, 0, 8], [8, 3, 0, 9])
    assert len(chosen.unique()) == 20 and (chosen.diff() > 0).all()
    assert (
        chosen.tolist() == draw_stratified(labels, 20, seed=1).tolist() != draw_stratified(labels, 20, seed=2).tolist()
    )
    assert draw_stratified(labels, 1000, seed=0).tolist() == list(range(63))


def test_pairs_are_the_own_class_prototypes_of_greatest_similarity(network):
    data = Tiles()
    pairs = choose_pairs(network, data, samples=10, seed=3, batch_size=4)
    assert data.labels[pairs.positions].bincount().tolist() == [5, 5]
    for position, prototype in zip(pairs.positions.tolist(), pairs.prototypes.tolist()):
        similarities = network(data[position]["image"].as_subclass(torch.Tensor)[None]).similarities[0]
        own = {0: [0, 1], 1: [2, 3]}[int(data.labels[position])]
        assert prototype == max(own, key=lambda p: similarities[p].item())
    assert network.training
    assert len(choose_pairs(network, data, samples=1000)) == len(data)


def test_a_similarity_that_is_nan_is_not_the_greatest(network):
    class Broken(Quadrants):
        def forward(self, images):
            found = super().forward(images)
            found.similarities[:, 3] = torch.nan
            return found

    broken, data = Broken(), Tiles()
    with pytest.raises(InputError, match="a similarity of image .* is NaN; the network is broken there"):
        choose_pairs(broken, data, samples=100)
    with pytest.raises(InputError, match="a similarity of image .* is NaN; the network is broken there"):
        choose_similar_pairs(broken, data, torch.tensor([0, 3]), count=2)
    kept = choose_similar_pairs(broken, data, torch.tensor([0, 1]), count=2)  # of these all are known
    assert torch.equal(kept.positions, choose_similar_pairs(network, data, torch.tensor([0, 1]), count=2).positions)


def test_scores_of_another_shape_are_refused_with_the_name_of_the_model():
    class Column(torch.nn.Linear):
        def score(self, images, index):
            return self(images.mean((2, 3)))

    pairs = Pairs(torch.arange(4), torch.zeros(4, dtype=torch.long))
    for metrics in (["insertion"], ["average_drop"]):
        with pytest.raises(InputError, match=r"Column.score gave the shape \(\d+, 1\) .* one score per image"):
            evaluate(Column(3, 1), Tiles(), {"center": get_localizer("center")}, pairs, metrics=metrics)


def test_images_of_a_class_without_prototypes_are_passed_over():
    network = Quadrants()
    network.prototype_classes[:] = 1
    pairs = choose_pairs(network, Tiles(), samples=100)
    assert (Tiles().labels[pairs.positions] == 1).all()


def test_mistakes_in_choosing_are_named(network):
    with pytest.raises(InputError, match="samples"):
        choose_pairs(network, Tiles(), samples=0)
    other = Tiles()
    other.classes = ("a", "c")
    with pytest.raises(InputError, match="classes"):
        choose_pairs(network, other, samples=4)
    with pytest.raises(InputError, match="prototypes"):
        Pairs(torch.arange(3), torch.arange(2))
    with pytest.raises(InputError, match="positions is a mask of True and False; give numbers"):
        Pairs(torch.tensor([True, False]), torch.arange(2))
    with pytest.raises(InputError, match=r"prototypes is \[0.9, 1\]; give whole numbers"):
        Pairs([0, 1], [0.9, 1])


@pytest.mark.parametrize(
    ("positions", "prototypes", "said"),
    [
        ([0], [4], "the pairs name prototype 4; there are 4, numbered 0 to 3"),
        ([0], [-1], "the pairs name prototype -1"),
        ([-1], [0], "the pairs name image -1; there are 20, numbered 0 to 19"),
        ([20], [0], "the pairs name image 20"),
    ],
)
def test_pairs_of_other_data_are_not_measured(network, positions, prototypes, said):
    wrong, right = Pairs(positions, prototypes), Pairs([0], [0])
    for given in ({"pairs": wrong}, {"prototype_pairs": wrong}, {"similar_pairs": wrong}):
        with pytest.raises(InputError, match=said):
            evaluate(network, Tiles(), LOCALIZERS, metrics=["insertion"], **{"pairs": right, **given})


def test_data_of_other_classes_are_not_measured(network):
    other = Tiles()
    other.classes = ("b", "a")
    with pytest.raises(InputError, match="classes are not the 2 that the network was trained on"):
        evaluate(network, other, LOCALIZERS, Pairs([0], [0]), metrics=["insertion"])


def test_known_values(found):
    """The oracle's mask keeps the whole score: no drop; it is inserted and deleted in the first quarter."""
    assert row(found, "oracle", "average_drop")["mean"] == pytest.approx(0, abs=1e-3)
    assert row(found, "opposite", "average_drop")["mean"] == pytest.approx(100, abs=1e-3)
    deletion = torch.tensor(found.curves["oracle"]["deletion"]["mean"])
    assert deletion[0].item() == pytest.approx(1) and deletion[7:].abs().max().item() < 1e-5 < deletion[6]
    assert torch.tensor(found.curves["opposite"]["deletion"]["mean"])[:22].min().item() == pytest.approx(1, abs=1e-5)
    # Left prototypes (0 and 2) lie in the box, right ones do not.
    left = found.pairs.prototypes % 2 == 0
    assert found.values["oracle"]["energy_box"] == left.float().tolist() == found.values["oracle"]["energy_mask"]
    # 15 pixels at 224 are less than one here: the maximum itself must be inside.
    assert found.values["oracle"]["pointing_box"] == left.float().tolist() == found.values["oracle"]["pointing_mask"]
    # Parts: the prototype's own is the only cause; the fourth quadrant's removal cannot be seen.
    visible = found.pairs.prototypes != 3
    hits = found.values["oracle"]["top_part"]
    assert all((hit == 1) if seen else hit is None for hit, seen in zip(hits, visible.tolist()))
    assert row(found, "oracle", "top_part")["n"] == int(visible.sum()) < len(found.pairs)
    correlations = zip(found.values["oracle"]["part_correlation"], visible.tolist())
    assert all(correlation == pytest.approx(1) for correlation, seen in correlations if seen)


def test_the_oracle_is_ahead_of_noise_and_noise_of_the_opposite(found):
    for metric in ("insertion", "deletion", "average_drop", "part_correlation", "top_part"):
        means = [row(found, localizer, metric)["mean"] for localizer in LOCALIZERS]
        assert means == sorted(means, reverse=HIGHER_IS_BETTER[metric]), metric
        assert means[0] != means[1], metric
    for contest in found.comparisons:
        if contest["metric"] in ("insertion", "deletion", "average_drop", "part_correlation"):
            assert contest["better"] == contest["a"], contest
        assert contest["better"] in ("undecided", contest["better_alone"])
        if contest["better_alone"] == "undecided":
            assert contest["ci_low"] is None or contest["ci_low"] <= 0 <= contest["ci_high"]


def test_rows_hold_what_the_file_promises(found):
    assert set(found.rows[0]) == {"localizer", "metric", "mean", "ci_low", "ci_high", "n", "images", "seconds_per_map"}
    assert len(found.rows) == 3 * len(USUAL) and len(found.comparisons) == 3 * len(USUAL)
    for each in found.rows:
        assert each["ci_low"] is None or each["ci_low"] <= each["mean"] <= each["ci_high"]
        assert each["seconds_per_map"] > 0


def test_batch_size_and_repetition_change_nothing(network, found):
    data = TilesWithParts()
    deterministic = {"oracle": oracle, "opposite": opposite}
    again = evaluate(network, data, deterministic, choose_pairs(network, data, 16), batch_size=16)
    for localizer in deterministic:
        for metric, values in again.values[localizer].items():
            assert values == pytest.approx(found.values[localizer][metric], abs=1e-4), metric


def test_the_network_is_left_as_it_was(network, found):
    assert network.training and network.weights.requires_grad and network.weights.grad is None


def test_round_trip(found, tmp_path):
    path = tmp_path / "evaluation.json"
    found.save(path)
    loaded = Evaluation.load(path)
    for name in ("names", "values", "rows", "comparisons", "curves"):
        assert getattr(loaded, name) == getattr(found, name)
    assert loaded.pairs.positions.equal(found.pairs.positions) and loaded.pairs.prototypes.equal(found.pairs.prototypes)
    assert loaded.table() == found.table()
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
    assert "NaN" not in path.read_text()
    json.loads(path.read_text(), parse_constant=pytest.fail)


def test_what_is_of_prototypes_now_and_had_a_value_for_each_pair_is_left_out(found, tmp_path):
    old = Evaluation.load(saved(found, tmp_path))
    for values in old.values.values():
        values["discrimination"] = [0.5] * len(old.names)
    old.rows.extend([{**row, "metric": "discrimination"} for row in old.rows if row["metric"] == old.metrics[0]])
    loaded = Evaluation.load(saved(old, tmp_path))
    assert "discrimination" not in loaded.table() and loaded.rows == found.rows and loaded.values == found.values


def saved(evaluation, folder):
    evaluation.save(folder / "evaluation.json")
    return folder / "evaluation.json"


def test_unreadable_evaluations_are_named(tmp_path):
    with pytest.raises(InputError, match="evaluation.json"):
        Evaluation.load(tmp_path / "evaluation.json")
    for content in ("{", "[]", '{"rows": []}'):
        (tmp_path / "half.json").write_text(content)
        with pytest.raises(InputError, match="half.json"):
            Evaluation.load(tmp_path / "half.json")


def test_table_is_aligned_and_says_which_way_is_better(found):
    lines = found.table().splitlines()
    assert max(map(len, lines)) <= 120
    assert re.match(r"metric\s+oracle\s+noise\s+opposite\s+n$", lines[0])
    insertion = next(line for line in lines if line.startswith("insertion"))
    assert "↑" in insertion and re.search(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] \*", insertion)
    assert (
        "deletion ↓" in found.table()
        and "not corrected" in found.table()
        and any("seconds per map" in line for line in lines)
    )
    assert insertion.index("*") == next(line for line in lines if line.startswith("deletion")).index("*")
    narrow = found.table(width=60)
    assert narrow.count("insertion ↑") > 1 and all(len(line) <= 60 for line in narrow.splitlines())


def test_verdict(found):
    sentence = found.verdict("oracle", "opposite")
    count = sum(c["better"] == "oracle" for c in found.comparisons if c["b"] == "opposite")
    assert sentence.startswith(f"oracle ahead of opposite in {count} of {len(USUAL)} metrics")
    assert "behind in insertion" in found.verdict("opposite", "oracle")
    assert found.verdict("opposite", "oracle").startswith("opposite ahead of oracle in 0 of")
    with pytest.raises(InputError, match="'mdm'.*oracle, noise"):
        found.verdict("mdm", "noise")


def made(**metrics):
    """An evaluation of a against b from (values of a, values of b) per metric."""
    values = {
        name: {metric: torch.tensor(both[side]) for metric, both in metrics.items()} for side, name in enumerate("ab")
    }
    count = len(next(iter(values["a"].values())))
    pairs = Pairs(torch.arange(count), torch.arange(count))
    return Evaluation.summarise(pairs, ["x"] * count, values, {"a": 0.1, "b": 0.2})


def test_verdict_sentence_in_full():
    up, down, level = [0.9, 0.8, 0.7, 0.9] * 4, [0.1, 0.2, 0.1, 0.3] * 4, [0.9, 0.1, 0.1, 0.2] * 4
    found = made(
        insertion=(up, down), deletion=(down, up), average_drop=(up, down), gain=(level, [0.1, 0.9, 0.2, 0.1] * 4)
    )
    assert found.verdict("a", "b") == "a ahead of b in 2 of 4 metrics, behind in average_drop; gain undecided"
    assert found.verdict("b", "a") == "b ahead of a in 1 of 4 metrics, behind in insertion, deletion; gain undecided"


@pytest.mark.parametrize("of_probabilities", [False, True])
def test_no_interval_reaches_beyond_what_can_be_and_none_else_changes(of_probabilities, monkeypatch):
    """Skewed values near an end, of which resamples reach far beyond it."""
    few = torch.tensor([0.0] * 9 + [0.001, 0.002, 0.0, 0.01, 0.03, 0.02, 0.59])
    values: dict = {"a": {}, "b": {}}
    for metric in KNOWN:
        least, most = (max(min(each, 100), -100) for each in range_of(metric, of_probabilities))
        if METRICS[metric].hit is None:
            values["a"][metric], values["b"][metric] = least + (most - least) * few, most - (most - least) * few

    def rows():
        seconds = {"a": 0.1, "b": 0.1}
        return mean_rows(values, {}, seconds, 0, of_probabilities), comparison_rows(values, {}, 0, of_probabilities)

    means, differences = rows()
    monkeypatch.setattr("protomask.evaluation.summaries.range_of", lambda *_: (-float("inf"), float("inf")))
    wide_means, wide_differences = rows()
    cut = 0
    for found, wide in zip([*means, *differences], [*wide_means, *wide_differences]):
        least, most = range_of(found["metric"], of_probabilities)
        if "difference" in found:
            least, most = least - most, most - least
        ends = {"ci_low": max(wide["ci_low"], least), "ci_high": min(wide["ci_high"], most)}
        assert found == {**wide, **{key: pytest.approx(each) for key, each in ends.items()}}, found
        cut += found != wide
    assert cut > 50
    kept = next(row for row in wide_means if (row["localizer"], row["metric"]) == ("a", "kept_first"))
    assert kept["ci_low"] < 0 and kept["ci_high"] > 1


def test_undefined_values_are_counted_out_and_kept_as_none():
    nan = float("nan")
    found = made(average_drop=([nan, 1.0, 2.0, 3.0], [nan, nan, 1.0, 2.0]), energy_box=([nan] * 4, [nan] * 4))
    assert found.values["a"]["average_drop"][0] is None
    assert row(found, "a", "average_drop")["n"] == 3
    assert found.comparisons[0]["n"] == 2 and found.comparisons[0]["difference"] == 1
    assert row(found, "a", "energy_box")["mean"] is None and row(found, "a", "energy_box")["n"] == 0
    assert found.comparisons[1]["better"] == "undecided"
    assert "-" in found.table()


def test_metrics_follow_the_data(network):
    points = {"consistency", "stability", "purity"}
    assert set(available_metrics(TilesWithParts(), [0])) == set(KNOWN) - points
    assert set(available_metrics(TilesWithPoints(), [0])) == set(KNOWN)
    parts = {"part_correlation", "top_part", "causal_overlap", "causal_insertion"}
    assert not parts & set(available_metrics(Tiles(), [0])) and "iou_best" in available_metrics(Tiles(), [0])
    without_truth = {"insertion", "deletion", "average_drop", "increase", "gain", "road"}
    beside = {"adcc", "kept_first", "region_deletion", "misalignment", "relevance_ordering"}
    beside |= {"steadiness", "steady_tenth", "max_sensitivity"}
    beside |= {"mas_insertion", "mas_deletion", "infidelity", "random_logit", "sparseness", "complexity"}
    of_prototypes = {"fidelity", "randomisation", "distinctiveness", "discrimination"}
    assert set(available_metrics(NoTruth(), [0, 1], network)) == without_truth | beside | of_prototypes
    assert set(available_metrics(NoTruth(), [0, 1], ScoreOnly())) == without_truth | beside
    data = NoTruth()
    found = evaluate(network, data, {"oracle": oracle}, choose_pairs(network, data, 4))
    assert set(found.metrics) == without_truth and not found.comparisons


def test_what_compares_prototypes_is_not_offered_without_any():
    points = {"consistency", "stability", "purity"}
    classifier = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2)))
    assert not points & set(available_metrics(TilesWithPoints(), [0], classifier))
    assert points < set(available_metrics(TilesWithPoints(), [0], Quadrants()))
    with pytest.raises(InputError, match="metric 'purity' needs part locations and a prototype network, which is not"):
        evaluate(classifier, TilesWithPoints(), {"noise": noise}, Pairs([0, 1], [0, 1]), metrics="purity")


def test_a_box_as_large_as_the_image_decides_nothing():
    class Cropped(Tiles):
        def load(self, index):
            sample = super().load(index)
            sample["boxes"][:] = torch.tensor([0.0, 0, SIZE, SIZE])
            return sample

    assert "energy_box" not in available_metrics(Cropped(), [0]) and "energy_mask" in available_metrics(Cropped(), [0])
    with pytest.raises(InputError, match="positions is a mask"):
        available_metrics(Cropped(), torch.ones(len(Cropped()), dtype=torch.bool))


def test_findings_that_fill_the_image_together_are_boxes_each(network):
    class Halves(Tiles):
        findings = torch.tensor([0, 1])

        def load(self, index):
            sample = super().load(index)
            boxes = torch.tensor([[0.0, 0, HALF, SIZE], [HALF, 0, SIZE, SIZE]])
            sample["boxes"] = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(SIZE, SIZE))
            return sample | {"box_labels": self.findings}

    data = Halves()
    assert "energy_box" in available_metrics(data, [0])
    pairs = Pairs(torch.tensor([0, 1]), torch.tensor([0, 3]))  # a prototype of "a" on the left, of "b" on the right
    found = evaluate(network, data, {"oracle": oracle}, pairs, metrics=["energy_box"])
    assert found.values["oracle"]["energy_box"] == [1, 1]
    data.findings = torch.tensor([1, 1])
    assert "energy_box" not in available_metrics(data, [0])


def test_discrimination_is_a_value_per_prototype():
    torch.manual_seed(0)
    similarities, own = torch.rand(40, 6), torch.rand(40, 6) > 0.5
    found, prototypes = torch.stack([similarities, own.float()], 1), torch.tensor([4, 1, 4, 4, 0] * 8)
    values = METRICS["discrimination"].finish(found, prototypes)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, discrimination(similarities, own)[[0, 1, 4]].float(), atol=0, rtol=0)


class Findings(Tiles):
    """Every fourth image has both findings."""

    def __init__(self, count=20):
        super().__init__(count)
        self.labels = torch.eye(2)[self.labels]
        self.labels[::4] = 1


@pytest.mark.parametrize("metrics", [["discrimination"], ["gain", "discrimination"]])
def test_discrimination_counts_prototypes_and_each_image_once(network, metrics):
    """Values of prototypes stood in each of their pairs and were resampled as if each were another one; an image with
    two findings counted twice."""
    asked = []

    def counting(explained, images, index):
        asked.extend(index.tolist())
        return noise(explained, images, index)

    data = Findings()
    positions = torch.cat([torch.arange(20), torch.arange(0, 20, 4)])
    pairs = Pairs(positions, torch.tensor([0, 2, 1, 3] * 5 + [2] * 5))
    found = evaluate(network, data, {"counting": counting}, pairs, metrics=metrics)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in range(20)])
    expected = discrimination(network(images).similarities, data.labels[:, network.prototype_classes] > 0.5)
    assert found.prototype_values["counting"]["discrimination"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.prototypes == [0, 1, 2, 3] and "discrimination" not in found.values["counting"]
    said = row(found, "counting", "discrimination")
    assert (said["n"], said["images"], said["ci_low"]) == (4, 4, None) and "4 prototypes" in found.table()
    assert len(asked) == (25 if "gain" in metrics else 20)  # no map is made for it, but to tell what maps cost
    first, one = Pairs(positions[:10], [0] * 10), Pairs(torch.arange(10, 20), [2] * 10)
    alone = evaluate(network, data, {"noise": noise}, first, metrics=metrics, prototype_pairs=one)
    assert alone.prototypes == [2]
    assert alone.prototype_values["noise"]["discrimination"] == pytest.approx([expected[2].item()], abs=1e-6)


def test_the_interval_of_discrimination_holds_the_truth():
    """The nominal 95 % were 65 to 73 %."""
    generator, held, true = torch.Generator().manual_seed(0), 0, 0.0
    shifts, labels = torch.linspace(0.3, 1.7, 10), torch.arange(10).repeat_interleave(10)
    true = torch.distributions.Normal(0, 1).cdf(shifts / 2**0.5).mean().item()
    own = torch.nn.functional.one_hot(labels).float()
    for _ in range(40):
        similarities = torch.randn(100, 10, generator=generator) + shifts * own
        values = METRICS["discrimination"].finish(torch.stack([similarities, own], 1), labels)
        (found,) = mean_rows({"a": {"discrimination": values}}, {}, {"a": 0.0}, 0)
        held += found["ci_low"] <= true <= found["ci_high"]
    assert held >= 37


def test_the_cost_of_discrimination_grows_with_prototypes_and_not_with_pairs(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "protomask.metrics.prototype_sets.auroc", lambda scores, own: asked.append(scores.shape) or scores.new_zeros(2)
    )
    METRICS["discrimination"].finish(torch.rand(400, 2, 6), torch.tensor([5, 2] * 200))
    assert asked == [(400, 2)]


def test_metrics_can_be_asked_for_by_name(network):
    data = Tiles()
    pairs = choose_pairs(network, data, 4)
    found = evaluate(network, data, {"oracle": oracle}, pairs, metrics=["energy_box", "average_drop"])
    assert found.metrics == ["energy_box", "average_drop"] and found.curves == {"oracle": {}}
    with pytest.raises(InputError, match="'insertoin'.*insertion"):
        evaluate(network, data, LOCALIZERS, pairs, metrics=["insertoin"])
    with pytest.raises(InputError, match="top_part.*parts that can be removed"):
        evaluate(network, data, LOCALIZERS, pairs, metrics=["top_part"])
    with pytest.raises(InputError, match="energy_box.*boxes"):
        evaluate(network, NoTruth(), LOCALIZERS, pairs, metrics=["energy_box"])
    with pytest.raises(InputError, match="0 localizers"):
        evaluate(network, data, {}, pairs)


class OwnNetwork(torch.nn.Module):
    """Somebody else's, with a layer of the name that prototype networks give their last one."""

    def __init__(self):
        super().__init__()
        self.last_layer = torch.nn.Linear(3 * SIZE * SIZE, 2)

    def score(self, images, index):
        return self.last_layer(images.flatten(1)).softmax(1).gather(1, index[:, None])[:, 0]


def test_a_last_layer_alone_makes_no_prototype_network():
    pairs = Pairs([0, 1], [0, 1])
    found = evaluate(OwnNetwork(), NoTruth(), {"noise": noise}, pairs, metrics=["all"])
    assert "insertion" in found.metrics and "explanation_size" not in found.metrics
    with pytest.raises(InputError, match="'explanation_size' needs a prototype network with a last layer"):
        evaluate(OwnNetwork(), NoTruth(), {"noise": noise}, pairs, metrics=["explanation_size"])


def test_names_of_metrics_may_come_from_a_generator(network):
    pairs = Pairs([0, 1], [0, 2])
    found = evaluate(network, Tiles(), {"oracle": oracle}, pairs, metrics=(each for each in ("gain", "insertion")))
    assert found.metrics == ["gain", "insertion"]
    for wrong, said in (
        (["gain", 3], "metric 3 is unknown"),
        ([["gain"]], "metric .*gain.* is unknown"),
        (3, "metrics is 3"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(network, Tiles(), {"oracle": oracle}, pairs, metrics=wrong)


class Concepts:
    """A score of eight concepts, more than the data have classes."""

    kind = None

    def __init__(self, shift=0.0):
        self.shift = shift

    def score(self, images, index):
        return images.mean((1, 2, 3)) * torch.linspace(0.1, 1, 8)[index] + self.shift


def test_an_index_that_is_no_class_of_the_data_has_no_class_name():
    class Found(Tiles):
        def load(self, index):
            sample = super().load(index)
            return sample | {"box_labels": torch.tensor([0])}

    pairs = Pairs(torch.arange(4), torch.tensor([0, 1, 7, 7]))
    metrics = ["insertion", "random_logit", "energy_box"]
    found = evaluate(Concepts(), Found(), {"noise": noise}, pairs, metrics=metrics)
    assert found.classes == ["a", "b", "", ""] and found.values["noise"]["insertion"][3] is not None
    assert [each is None for each in found.values["noise"]["energy_box"]] == [False, True, True, True]
    assert {each["class"] for each in per_class(found)} == {"a", "b"} and found.table()
    assert all(each is not None for each in found.values["noise"]["random_logit"])
    with pytest.raises(InputError, match="the pairs name the index -1; indices are numbered from 0"):
        evaluate(Concepts(), Tiles(), {"noise": noise}, Pairs([0], [-1]), metrics=["insertion"])


def test_log_probabilities_are_measured_as_probabilities():
    torch.manual_seed(0)
    model, pairs = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2)),
        Pairs(range(6), [1] * 6),
    )
    metrics = ["insertion", "average_drop", "gain", "road", "misalignment", "kept_first"]
    for options in ({}, {"multi_label": True}):
        found, expected = (
            evaluate(Classifier(model, kind, **options), Tiles(), {"noise": noise}, pairs, metrics=metrics)
            for kind in ("log-probability", "probability")
        )
        for metric in metrics:
            assert found.values["noise"][metric] == pytest.approx(expected.values["noise"][metric], abs=1e-4)
        assert row(found, "noise", "insertion")["n"] == 6 and "n is 0" not in found.table()


def test_of_an_improbable_class_what_has_a_scale_of_its_own_is_not_divided():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2))
    torch.nn.init.constant_(model[1].bias, 0)
    with torch.no_grad():
        model[1].weight[1] = -1 / 20  # its probability is about exp(-22), and a half where nothing is left
    metrics = {name for name, metric in METRICS.items() if metric.of_probabilities}
    found = evaluate(
        Classifier(model, "probability"), TilesWithParts(), {"noise": noise}, Pairs(range(4), [1] * 4), metrics=metrics
    )
    for metric in metrics:
        values = found.values["noise"][metric]
        least, most = range_of(metric, of_probabilities=True)
        assert most <= 100 and all(least <= each <= most for each in values), (metric, values)


def test_of_a_classifier_whose_logits_are_below_0_the_mend_is_told(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2))
    torch.nn.init.constant_(model[1].bias, -1e3)
    pairs = Pairs(range(4), [0] * 4)
    found = evaluate(Classifier(model, "logit"), Tiles(), {"noise": noise}, pairs, metrics=["insertion"])
    found.save(tmp_path / "evaluation.json")
    for each in (found, Evaluation.load(tmp_path / "evaluation.json")):
        assert 'such as probabilities: Classifier(model, score="probability").' in " ".join(each.table().split())


def test_a_metric_that_counts_nothing_is_told():
    pairs, metrics = Pairs(range(4), [0] * 4), ["insertion", "increase"]
    found = evaluate(Concepts(-9.0), Tiles(), {"noise": noise}, pairs, metrics=metrics)
    told = " ".join(found.table().split())
    assert "No pair counts (n is 0) in insertion: these are shares" in told and "Classifier" not in told
    assert "No pair counts (n is 0) in insertion:" in as_markdown(found) and "No pair counts" in found._repr_html_()
    nan = [float("nan")] * 4
    assert "Undefined everywhere (n is 0): energy_box." in made(energy_box=(nan, nan), gain=([1.0] * 4, nan)).table()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_images_of_other_precisions_are_measured(dtype, tmp_path):
    class Cast(Tiles):
        def load(self, index):
            sample = super().load(index)
            return sample | {"image": tv_tensors.Image(sample["image"].as_subclass(torch.Tensor).to(dtype))}

    pairs = Pairs(range(4), [0] * 4)
    for cache in (tmp_path, tmp_path):
        found = evaluate(
            Quadrants().to(dtype), Cast(), {"x": get_localizer("center")}, pairs, metrics="adcc,insertion", cache=cache
        )
        assert row(found, "x", "insertion")["n"] == 4


def test_seeds_of_numpy_choose_the_same_pairs(network):
    data = TilesWithPoints()
    for choose in (choose_pairs, choose_prototype_pairs):
        one, other = (choose(network, data, 12, seed) for seed in (3, np.int64(3)))
        assert one.positions.equal(other.positions)
        with pytest.raises(InputError, match="seed is 'x'"):
            choose(network, data, 12, "x")


def test_prototypes_are_not_called_images():
    few, level = [100.0, 0.0, 100.0] * 4, [100.0, 0.0, 0.0] * 4
    found = made(consistency=(few, level), gain=([1.0, 2.0, 0.5, 3.0] * 3, [1.5, 1.0, 2.0, 1.0] * 3))
    said = found.power("a", "b")
    assert re.search(
        r"would need so many images: gain about [\d,]+; so many prototypes: consistency about [\d,]+$", said
    )
    for text in (found.contest("a", "b"), as_markdown(found)):
        (line,) = (
            each for each in text.splitlines() if "consistency" in each and " 12 prototypes" in each and "+33" in each
        )
        assert len(re.findall(r"\d prototypes", line)) == 2
        assert "prototypes" not in next(each for each in text.splitlines() if "gain" in each)
    assert re.search(r"consistency ↑.* 12 prototypes", found.table())


def test_broken_maps_and_scores_name_localizer_and_image(network):
    data = Tiles()
    pairs = Pairs(torch.tensor([2, 5]), torch.tensor([0, 2]))

    def broken(explained, images, index):
        saliency = oracle(explained, images, index)
        saliency[1, 0, 0] = torch.nan
        return saliency

    with pytest.raises(InputError, match="'broken'.*'tile 5'.*prototype 2"):
        evaluate(network, data, {"broken": broken}, pairs)
    with pytest.raises(InputError, match="'flat'.*shape"):
        evaluate(network, data, {"flat": lambda e, images, i: images.mean((2, 3))}, pairs)
    with pytest.raises(InputError, match="'negative'"):
        evaluate(network, data, {"negative": lambda e, images, i: -images[:, 0]}, pairs)

    class Infinite(Quadrants):
        def score(self, images, index):
            kept = super().score(images, index)
            return torch.where(kept < 1e-6, -torch.inf, kept)

    with pytest.raises(InputError, match="'opposite'.*'tile 2'"):
        evaluate(Infinite(), data, {"opposite": opposite}, pairs, metrics=["average_drop"])


def test_untransformed_data_is_refused(network):
    class Raw(Tiles):
        def load(self, index):
            sample = super().load(index)
            return sample | {"image": tv_tensors.Image(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8))}

    with pytest.raises(InputError, match="transform"):
        evaluate(network, Raw(), LOCALIZERS, Pairs(torch.tensor([0]), torch.tensor([0])))


@pytest.mark.parametrize("std", [(0.5, 0.5, 0.5), (0.2, 0.3, 0.4), None])
def test_unseen_noise_is_below_half_a_grey_level_for_every_normalisation(std):
    """It was 1.1 grey levels for networks normalised by .5, which can be seen."""
    seen, given = [], None if std is None else (0.5, 0.5, 0.5)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2))
    explained = Classifier(model, "probability", mean=given, std=std)

    def remembering(explained, images, index):
        seen.append(images)
        return noise(explained, images, index)

    evaluate(explained, Tiles(), {"remembering": remembering}, Pairs(range(4), [0] * 4), metrics=["steady_tenth"])
    assert len(seen) == 2
    levels = (seen[1] - seen[0]).abs() * torch.tensor(std or (0.229, 0.224, 0.225)).view(3, 1, 1) * 255
    assert 0.47 < levels.amax() <= 0.5 + 1e-4


def test_steadiness_is_that_of_the_maps(network):
    class Changing:
        """A map that another image changes wholly."""

        def __call__(self, explained, images, index, *, progress=False):
            noise = (images.sum(1) * 1e4).frac().abs()
            return noise / noise.amax((1, 2), keepdim=True)

    data = Tiles()
    names = ["steadiness", "steady_tenth", "max_sensitivity"]
    localizers = {"blind": get_localizer("center"), "changing": Changing()}
    found = evaluate(network, data, localizers, choose_pairs(network, data, 8), metrics=names)
    mean = {(row["localizer"], row["metric"]): row["mean"] for row in found.rows}
    assert (
        mean["blind", "steadiness"] == 1
        and mean["blind", "steady_tenth"] == 1
        and mean["blind", "max_sensitivity"] == 0
    )
    assert mean["changing", "steadiness"] < 0.5 and mean["changing", "max_sensitivity"] > 0.5
