"""What several findings per image change in the losses, the head, the projection and the last layer."""

import math

import pytest
import torch
from torchvision import tv_tensors

from protomask.data import AnnotatedImages
from protomask.evaluation import choose_pairs
from protomask.explanations.predictions import explain
from protomask.explanations.sources import picture_prototypes
from protomask.localizers import get_localizer
from protomask.projection import project
from protomask.report.answers import Answers, per_class_table
from protomask.training import TrainingSet, performance, train
from protomask.training.black_box import BlackBox, classification_loss
from protomask.training.classification import balanced_focal
from protomask.training.costs import cluster_cost, coverage_cost, separation_cost
from protomask.training.forgetting import find_forbidden
from protomask.training.given_parts import give_cells
from protomask.training.last_layer import fit_last_layer
from protomask.training.patches import classes_in, cut_cells, nearest_in_images, with_prototypes
from protomask.training.prediction import rate_answers
from protomask.training.stages import Epochs, bias_rate, warm_up_cosine
from protopnet.losses import ProtoPNetLoss
from protopnet.model import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet
from xprotonet.losses import XProtoNetLoss

OWNERS = torch.tensor([0, 0, 1, 1, 2, 2])
LABELS = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])


class Findings(AnnotatedImages):
    """16x16 pixels; finding c is a quarter of the image bright in channel c, in a quarter of its own."""

    def __init__(self, count=48, seed=0):
        generator = torch.Generator().manual_seed(seed)
        labels = (torch.rand(count, 3, generator=generator) < 0.4).float()
        labels[:4] = torch.cat([torch.eye(3), torch.zeros(1, 3)])
        self.pixels = torch.rand(count, 3, 16, 16, generator=generator) * 0.05
        for place, finding in labels.nonzero().tolist():
            quarters = torch.randperm(4, generator=torch.Generator().manual_seed(place)).tolist()
            top, left = (8 * number for number in divmod(quarters[finding], 2))
            self.pixels[place, finding, top : top + 8, left : left + 8] += 0.8
        super().__init__(("red", "green", "blue"), labels, [f"{seed}/{place}" for place in range(count)])

    def load(self, index):
        boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(16, 16))
        return {"image": tv_tensors.Image(self.pixels[index]), "boxes": boxes}


def test_answers_that_are_sure_are_ranked():
    """In probabilities, which round to 1, they tied: .5 where every image that has the class is above the others."""
    logits = torch.tensor([[60.0, 0.0], [50.0, 0.0], [45.0, 0.0], [40.0, 0.0]])
    for labels in (torch.tensor([0, 0, 1, 1]), torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])):
        found = rate_answers(logits, labels, ("a", "b"))["per_class"]["a"]
        assert (found["auroc"], found["average_precision"]) == (1, 1)
        rows = per_class_table(Answers(("a", "b"), "wxyz", logits, labels))
        assert (rows[0]["sort"]["auroc"], rows[0]["sort"]["ap"]) == (1, 1)


def test_patches_are_compared_with_images_without_the_finding_that_they_stand_for():
    torch.manual_seed(0)
    data = Findings()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, multi_label=True).eval()
    setup = TrainingSet(data, data, data.subset([]), batch_size=8)
    both = int(((data.labels[:, 0] > 0) & (data.labels[:, 2] > 0)).nonzero()[0])
    none = int((data.labels.sum(1) == 0).nonzero()[0])
    cell, empty = (both, 0, 0), (none, 0, 0)
    patches = cut_cells(net, setup, [cell])
    nearest = nearest_in_images(with_prototypes(net, patches), setup)[:, 0]
    alike = with_prototypes(net, patches).patch_similarities(patches)[0, 0]

    def level(others):
        return pytest.approx(((alike + nearest[others].median()) / 2).item(), abs=1e-5)

    third = data.labels[:, 2] == 0
    given = give_cells(net, setup, 2, [cell], None)
    assert given.levels.tolist() == [level(third)]
    known = find_forbidden(net, setup, [], [], [cell], owners={cell: 2})
    assert known.levels.tolist() == [level(third)]
    unknown = find_forbidden(net, setup, [cell], [], [])
    assert unknown.levels.tolist() == [level(data.labels[:, data.labels[both] > 0].sum(1) == 0)]
    assert classes_in(net, setup, none) == []
    assert classes_in(net, setup, both) == data.labels[both].nonzero()[:, 0].tolist()
    assert find_forbidden(net, setup, [empty], [], []).levels.isfinite().all()


def slow_focal(logits, labels, gamma):
    total = 0.0
    for c in range(logits.shape[1]):
        sides = {True: [], False: []}
        for z, t in zip(logits[:, c].tolist(), labels[:, c].tolist()):
            p = 1 / (1 + math.exp(-z))
            sides[t == 1].append(-((1 - p) ** gamma) * math.log(p) if t == 1 else -(p**gamma) * math.log(1 - p))
        total += sum(sum(side) / len(side) for side in sides.values() if side)
    return total / logits.shape[1]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_equals_its_definition(gamma):
    torch.manual_seed(0)
    logits = 2 * torch.randn(4, 3, dtype=torch.float64)
    assert balanced_focal(logits, LABELS.double(), gamma).item() == pytest.approx(
        slow_focal(logits, LABELS, gamma), rel=1e-9
    )
    assert torch.autograd.gradcheck(lambda x: balanced_focal(x, LABELS.double(), gamma), logits.requires_grad_())
    for far in (-200.0, 200.0):
        logits = torch.full((4, 3), far, requires_grad=True)
        balanced_focal(logits, LABELS, gamma).backward()
        assert logits.grad.isfinite().all()


def test_costs_of_findings_by_hand():
    torch.manual_seed(0)
    distances = torch.rand(4, 6, dtype=torch.float64)
    least = distances.view(4, 3, 2).amin(2)
    assert cluster_cost(distances, LABELS, OWNERS).item() == pytest.approx(
        (least[0, 0] + least[0, 2] + least[2, 1] + least[3, 0]).item() / 4
    )
    others = [least[b, c].item() for b in range(4) for c in range(3) if not LABELS[b, c]]
    assert separation_cost(distances, LABELS, OWNERS).item() == pytest.approx(sum(others) / 8)
    nearest = [
        distances[[0, 3], 0].min(),
        distances[[0, 3], 1].min(),
        distances[2, 2],
        distances[2, 3],
        distances[0, 4],
        distances[0, 5],
    ]
    assert coverage_cost(distances, LABELS, OWNERS).item() == pytest.approx(sum(nearest).item() / 6)


def test_costs_of_one_class_agree_with_those_of_one_finding():
    torch.manual_seed(1)
    distances, labels = torch.rand(5, 6), torch.tensor([0, 1, 2, 1, 0])
    one_hot = torch.nn.functional.one_hot(labels).float()
    for cost in (cluster_cost, coverage_cost):
        assert cost(distances, labels, OWNERS).item() == pytest.approx(cost(distances, one_hot, OWNERS).item())


def test_a_batch_without_findings_costs_nothing():
    distances = torch.rand(2, 6, requires_grad=True)
    for cost in (cluster_cost, coverage_cost):
        value = cost(distances, torch.zeros(2, 3), OWNERS)
        value.backward()
        assert value.item() == 0
    assert separation_cost(distances, torch.ones(2, 3), OWNERS).item() == 0
    # A finding whose last prototype was pruned has none to be near to.
    assert cluster_cost(distances, torch.ones(2, 4), OWNERS).isfinite()
    distances = torch.full((2, 6), torch.nan)
    assert (
        cluster_cost(distances, torch.ones(2, 3), OWNERS).isnan()
        and coverage_cost(distances, torch.ones(2, 3), OWNERS).isnan()
    )


def network(kind):
    torch.manual_seed(3)
    return kind(
        ToyBackbone(), ("red", "green", "blue"), image_size=16, prototypes_per_class=2, channels=6, multi_label=True
    )


@pytest.fixture(
    scope="module", params=[(ProtoPNet, ProtoPNetLoss), (XProtoNet, XProtoNetLoss)], ids=["protopnet", "xprotonet"]
)
def trained(request):
    kind, loss = request.param
    net, data = network(kind), Findings()
    setup = TrainingSet(data, data, data.subset([]), batch_size=8, seed=5)
    attributes = ["backbone", "add_on", "prototypes", *(["occurrence"] if kind is XProtoNet else []), *bias_rate(net)]
    rows = train(
        net,
        [
            Epochs(
                "joint",
                25,
                loss(coverage=1.0, separation=0.5),
                dict.fromkeys(attributes, 3e-2),
                schedule=warm_up_cosine(),
            )
        ],
        setup,
    )
    project(net, setup)
    fitted = fit_last_layer(net, setup, l1=1e-3)
    return net, data, setup, rows, fitted


def test_both_networks_learn_findings(trained):
    net, data, setup, rows, fitted = trained
    assert "focal" in rows[0] and "cross_entropy" not in rows[0] and rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["train_accuracy"] <= 1
    assert fitted["loss"] < fitted["loss_before"]
    found = performance(net, Findings(40, seed=1), setup)
    assert found["auroc"] > 0.95 and found["average_precision"] > 0.9 and found["accuracy"] > 0.85
    assert {name: row["images"] for name, row in found["per_class"].items()} == dict(
        zip(data.classes, Findings(40, seed=1).labels.sum(0).int().tolist())
    )


def test_prototypes_come_from_images_that_have_the_finding(trained):
    net, data, *_ = trained
    assert data.labels[net.source_positions, net.prototype_classes].all()


def test_a_fresh_head_asks_each_finding_by_itself():
    net = network(XProtoNet)
    assert net.last_layer.weight.tolist() == (3.0 * net.own_class()).tolist()
    similarities = torch.full((1, 6), 0.5)
    assert net.last_layer(similarities).abs().max() < 1e-6  # a probability of a half
    assert net.settings()["multi_label"] and not ProtoPNet(ToyBackbone(), ("a", "b"), image_size=16).multi_label


def test_every_finding_is_a_pair_with_its_own_prototype(trained):
    net, data, *_ = trained
    count = int(data.labels.sum())
    pairs = choose_pairs(net, data, 1000)
    assert len(pairs) == count and data.labels[pairs.positions, net.prototype_classes[pairs.prototypes]].all()
    few = choose_pairs(net, data, 6, seed=1)
    assert net.prototype_classes[few.prototypes].bincount(minlength=3).tolist() == [2, 2, 2]


def test_one_explanation_for_each_predicted_finding(trained):
    net, data, *_ = trained
    localizers = {"similarity": get_localizer("similarity")}
    pictures = picture_prototypes(net, data, localizers)
    positions = range(8)
    images = torch.stack([data[place]["image"].as_subclass(torch.Tensor) for place in positions])
    with torch.no_grad():
        logits = net.eval()(images).logits
    truths = [data.truth(place) for place in positions]
    found = explain(net, images, [str(place) for place in positions], pictures, localizers, true_classes=truths, top=2)
    expected = [
        (str(place), net.classes[c])
        for place in positions
        for c in logits[place].argsort(descending=True).tolist()[: max(1, int((logits[place] > 0).sum()))]
    ]
    assert [(each.name, each.finding) for each in found] == expected and len(expected) > len(positions)
    for each in found:
        place, c = int(each.name), net.classes.index(each.finding)
        assert each.logit == pytest.approx(logits[place, c].item(), abs=1e-5)
        assert each.probability == pytest.approx(logits[place, c].sigmoid().item(), abs=1e-5)
        assert sum(match.points for match in each.matches) + each.other_points == pytest.approx(each.logit, abs=1e-5)
        names = {each.finding, f"no {each.finding}"}
        assert {each.predicted, each.runner_up} == names and each.true_class in names
        assert (each.predicted == each.finding) == (each.logit > 0)
        assert (each.true_class == each.finding) == bool(data.labels[place, c])
        assert f"probability of {each.finding}" in each.text() and f"{each.finding} starts with" in each.text()
        assert each.to_json()["bias"] == pytest.approx(net.last_layer.bias[c].item())


def test_the_plain_classifier_learns_findings_too():
    torch.manual_seed(0)
    data = Findings()
    setup = TrainingSet(data, data, data.subset([]), batch_size=8)
    net = BlackBox(ToyBackbone(), 3)
    train(net, [Epochs("joint", 20, classification_loss, {"backbone": 1e-2, "head": 1e-2})], setup)
    assert performance(net, Findings(40, seed=1), setup)["auroc"] > 0.9
