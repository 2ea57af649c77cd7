from dataclasses import replace

import pytest
import torch

from protomask.errors import InputError
from protomask.projection import project
from protomask.run.measures import with_test_accuracy
from protomask.training import Action, Diverged, Epochs, TrainingSet, accuracy, train
from protomask.training.black_box import HEAD_RATE, black_box_stages, train_black_box
from protomask.training.checkpoint import load_checkpoint
from protomask.training.last_layer import fit_last_layer
from protomask.training.stages import steps, warm_up_cosine
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss
from tests.support.toy import ColourImages, ToyBackbone

RATES = {"backbone": 1e-2, "add_on": 1e-2, "prototypes": 1e-2}


def make(norm=True, evidence="signed"):
    torch.manual_seed(3)
    data = ColourImages(12)
    net = ProtoPNet(
        ToyBackbone(norm=norm), data.classes, image_size=16, prototypes_per_class=2, channels=6, evidence=evidence
    )
    return net, TrainingSet(data, data, ColourImages(4, seed=1), batch_size=8, seed=5)


def plan():
    return [
        Epochs("warm", 1, ProtoPNetLoss(), {"add_on": 1e-2, "prototypes": 1e-2}),
        Epochs("joint", 4, ProtoPNetLoss(), RATES, {"backbone": 0.1}, schedule=warm_up_cosine()),
        Action("projection", project),
        Epochs("last layer", 2, ProtoPNetLoss(part="last"), {"last_layer": 1e-2}, optimizer="adam"),
    ]


def weights(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_training_learns_and_logs_every_stage():
    net, setup = make()
    rows = train(net, plan(), setup)
    assert [(row["stage"], row.get("epoch")) for row in rows] == [
        ("warm", 1),
        ("joint", 1),
        ("joint", 2),
        ("joint", 3),
        ("joint", 4),
        ("projection", None),
        ("last layer", 1),
        ("last layer", 2),
    ]
    assert rows[4]["loss"] < rows[0]["loss"]
    assert {"cross_entropy", "cluster", "separation", "train_accuracy", "validation_accuracy", "seconds"} <= set(
        rows[1]
    )
    assert rows[0]["seen"] == 4 * setup.batch_size + len(setup.validation)  # whole batches alone
    net, setup = make()
    longer = [Epochs("joint", 16, ProtoPNetLoss(), dict.fromkeys(RATES, 5e-2), schedule=warm_up_cosine()), *plan()[2:]]
    train(net, longer, setup)
    assert accuracy(net, ColourImages(5, seed=2), setup) == 1.0


def test_only_what_a_stage_names_changes():
    net, setup = make()
    before = weights(net)
    train(net, [Epochs("warm", 1, ProtoPNetLoss(), {"add_on": 1e-2})], setup)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    # Batch normalisation in the frozen backbone must not drift either.
    assert changed and all(name.startswith("add_on") for name in changed)


class Killed(Exception):
    pass


@pytest.mark.parametrize("rows_until_death", [1, 2, 4, 6, 7])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, rows_until_death):
    whole, setup = make()
    expected_rows = train(whole, plan(), setup)

    def die(rows):
        if len(rows) == rows_until_death:
            raise Killed

    net, setup = make()
    with pytest.raises(Killed):
        train(net, plan(), setup, checkpoint=tmp_path / "state.pt", log=die)
    again, setup = make()
    with torch.no_grad():
        again.prototypes.zero_()
    torch.manual_seed(99)
    rows = train(again, plan(), setup, checkpoint=tmp_path / "state.pt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert [row.get("loss") for row in rows] == [row.get("loss") for row in expected_rows]


class Dying:
    """An objective that draws random numbers, as XProtoNet's does, and dies at one of its calls."""

    def __init__(self, death=None):
        self.calls, self.death = 0, death

    def __call__(self, network, images, labels):
        if self.calls == self.death:
            raise Killed
        self.calls += 1
        return ProtoPNetLoss()(network, images + 0.1 * torch.randn(len(images), 3, 1, 1), labels)


def test_a_run_killed_within_an_epoch_resumes_to_the_same_bits(tmp_path):
    def stages(death=None):
        return [
            Epochs("joint", 2, Dying(death), RATES, {"backbone": 0.1}, schedule=warm_up_cosine()),
            Action("projection", project),
        ]

    whole, setup = make()
    expected_rows = train(whole, stages(), setup)  # 2 epochs of 4 steps
    for death in (1, 3, 5):
        path = tmp_path / f"{death}.pt"
        net, setup = make()
        with pytest.raises(Killed):
            train(net, stages(death), setup, checkpoint=path, minutes=0)
        again, setup = make()
        torch.manual_seed(99)
        left, logged = stages(), []
        rows = train(again, left, setup, checkpoint=path, log=logged.append)
        assert logged[-1] is rows
        assert left[0].objective.calls == 8 - death
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
        for row, expected in zip(rows, expected_rows, strict=True):
            assert {**row, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize("evidence", ["positive", "signed"])
def test_positive_evidence_holds_after_every_step_and_over_a_kill(tmp_path, evidence):
    class Watching(Dying):
        def __call__(self, network, images, labels):
            weight, own = network.last_layer.weight.detach(), network.own_class()
            holds.append(bool((weight[~own] == 0).all() and (weight >= 0).all()))
            return super().__call__(network, images, labels)

    def stages(death=None):
        return [Epochs("last layer", 2, Watching(death), {"last_layer": 1.0}, optimizer="adam")]

    holds = []
    whole, setup = make(evidence=evidence)
    train(whole, stages(), setup)
    net, setup = make(evidence=evidence)
    with pytest.raises(Killed):
        train(net, stages(5), setup, checkpoint=tmp_path / "state.pt", minutes=0)
    again, setup = make(evidence=evidence)
    train(again, stages(), setup, checkpoint=tmp_path / "state.pt")
    assert torch.equal(whole.last_layer.weight, again.last_layer.weight)
    assert len(holds) == 8 + 6 + 3 and all(holds) == (evidence == "positive")
    weight, own = whole.last_layer.weight, whole.own_class()
    assert (weight[own] == 0).any() == (evidence == "positive")  # a step went further than that
    with torch.no_grad():
        found = whole.eval()(ColourImages(4).pixels)
        points = found.similarities[:, None] * (weight * own)
    assert torch.allclose(points.sum(2), found.logits, atol=1e-5) == (evidence == "positive")


def test_a_finished_run_is_logged_again(tmp_path):
    net, setup = make()
    rows = train(net, plan()[:1], setup, checkpoint=tmp_path / "state.pt")
    logged = []
    assert train(net, plan()[:1], setup, checkpoint=tmp_path / "state.pt", log=logged.append) == rows
    assert logged == [rows]


def test_within_an_epoch_the_clock_decides(tmp_path, monkeypatch):
    from protomask.training import checkpoint

    written = []
    monkeypatch.setattr(
        checkpoint, "save_checkpoint", lambda path, state: written.append(state["within"] and state["within"]["step"])
    )
    for minutes, expected in ((60, [None, None]), (0, [1, 2, 3, 4, None] * 2)):
        net, setup = make()
        train(
            net, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup, checkpoint=tmp_path / "state.pt", minutes=minutes
        )
        assert written == expected
        written.clear()


def test_a_checkpoint_of_another_recipe_or_damaged_is_refused(tmp_path):
    net, setup = make()
    train(net, plan()[:1], setup, checkpoint=tmp_path / "state.pt")
    with pytest.raises(InputError, match="another recipe"):
        train(net, plan()[:2], setup, checkpoint=tmp_path / "state.pt")
    (tmp_path / "state.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(net, plan()[:1], setup, checkpoint=tmp_path / "state.pt")


def test_an_infinite_loss_names_the_images(tmp_path):
    net, setup = make()
    setup.train.pixels[3] = float("nan")
    with pytest.raises(Diverged, match="stage joint, epoch 1.*seed0/"):
        train(net, plan()[1:2], setup, checkpoint=tmp_path / "state.pt")


def test_an_infinite_gradient_names_the_images_and_leaves_the_weights():
    class Root(torch.autograd.Function):
        """1, with a gradient that is not finite, as that of a square root at 0."""

        @staticmethod
        def forward(ctx, value):
            return torch.ones(())

        @staticmethod
        def backward(ctx, gradient):
            return torch.full((), torch.inf)

    def objective(network, images, labels):
        terms = ProtoPNetLoss()(network, images, labels)
        return {**terms, "loss": terms["loss"] + Root.apply(terms["loss"])}

    net, setup = make()
    before = weights(net)
    with pytest.raises(Diverged, match="gradient's norm is (inf|nan) in stage joint, epoch 1.*seed0/"):
        train(net, [Epochs("joint", 1, objective, {"add_on": 1e-2})], setup)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_stages_of_one_name_share_optimizer_and_schedule():
    """4 epochs at once, or 2 + 2 with another stage between: the rates are the same."""
    seen = []

    class Loss(ProtoPNetLoss):
        def __call__(self, network, images, labels):
            return super().__call__(network, images, labels)

    def schedule(share, done):
        seen.append((round(share, 6), round(done, 6)))
        return 1.0

    net, setup = make()
    train(net, [Epochs("joint", 4, Loss(), RATES, schedule=schedule)], setup)
    once, seen = seen, []
    nothing = Action("projection", lambda network, setup: {})
    net, setup = make()
    train(
        net,
        [
            Epochs("joint", 2, Loss(), RATES, schedule=lambda *a: (seen.append(tuple(round(x, 6) for x in a)), 1.0)[1]),
            nothing,
            Epochs("joint", 2, Loss(), RATES, schedule=lambda *a: (seen.append(tuple(round(x, 6) for x in a)), 1.0)[1]),
        ],
        setup,
    )
    assert seen == once


def test_schedules():
    factor = warm_up_cosine(0.1, 0.01)
    assert (
        factor(0.05, 0) == pytest.approx(0.5)
        and factor(0.1, 0) == pytest.approx(1.0)
        and factor(1.0, 0) == pytest.approx(0.01)
    )
    official = steps(5, ahead=1)
    assert [official(0, done) for done in (0, 3.9, 4, 9)] == pytest.approx([1, 1, 0.1, 0.01])


def test_fit_last_layer_lowers_its_loss_and_touches_nothing_else():
    net, setup = make()
    train(net, plan()[:3], setup)
    before = weights(net)
    row = fit_last_layer(net, setup, l1=1e-4)
    assert row["loss"] < row["loss_before"]
    assert {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])} == {
        "last_layer.weight"
    }


def test_black_box_has_the_schedule_of_the_prototype_network():
    net, setup = make()
    backbone = net.backbone
    before = weights(backbone)
    result = train_black_box(backbone, 3, plan(), setup, ColourImages(5, seed=2))
    assert result["accuracy"] > 0.9 and result["seconds"] > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_which_parameters_learn_is_as_before():
    net, setup = make()
    net.backbone.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    train(net, plan(), setup)
    assert before == {name: parameter.requires_grad for name, parameter in net.named_parameters()}


class Unreadable(ColourImages):
    """One of the images cannot be read, while ``bad``."""

    bad = True

    def load(self, index):
        if index == 2 and self.bad:
            raise InputError("seed1/2 is no image")
        return super().load(index)


def test_an_epoch_whose_validation_fails_is_kept(tmp_path, monkeypatch):
    net, setup = make()
    setup = replace(setup, validation=Unreadable(4, seed=1))
    stages = [Epochs("joint", 2, ProtoPNetLoss(), RATES)]
    with pytest.raises(InputError, match="no image"):
        train(net, stages, setup, checkpoint=tmp_path / "state.pt")
    assert load_checkpoint(tmp_path / "state.pt")["within"]["step"] == 4
    monkeypatch.setattr(Unreadable, "bad", False)
    again, whole = make()[0], make()[0]
    rows = train(again, stages, setup, checkpoint=tmp_path / "state.pt")
    expected = train(whole, stages, setup)
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in expected]
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_the_steps_before_a_training_image_that_cannot_be_read_are_kept(tmp_path, monkeypatch):
    net, setup = make()
    setup = replace(setup, train=Unreadable(len(setup.train)))
    stages = [Epochs("joint", 2, ProtoPNetLoss(), RATES)]
    with pytest.raises(InputError, match="no image"):
        train(net, stages, setup, checkpoint=tmp_path / "state.pt")
    within = load_checkpoint(tmp_path / "state.pt")["within"]
    assert 0 < within["step"] < 4 and within["seen"] == within["step"] * setup.batch_size
    monkeypatch.setattr(Unreadable, "bad", False)
    again, whole = make()[0], make()[0]
    train(again, stages, setup, checkpoint=tmp_path / "state.pt")
    train(whole, stages, setup)
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_a_network_that_broke_in_its_epoch_is_not_kept(tmp_path, monkeypatch):
    net, setup = make()
    setup = replace(setup, validation=setup.plain)

    def broken(network, *others):
        network.prototypes.data.fill_(torch.nan)
        raise InputError("no number")

    monkeypatch.setattr("protomask.training.passes.accuracy", broken)
    with pytest.raises(InputError, match="no number"):
        train(net, [Epochs("joint", 1, ProtoPNetLoss(), RATES)], setup, checkpoint=tmp_path / "state.pt")
    assert load_checkpoint(tmp_path / "state.pt") is None


def test_a_black_box_learns_whatever_the_recipe_trains_but_the_last_layer():
    def stage(name, epochs=1, **rates):
        return Epochs(name, epochs, None, rates)

    plan = black_box_stages([stage("a", prototypes=2e-3), stage("b", backbone=1e-3), stage("c", last_layer=1.0)])
    assert [each.rates for each in plan] == [{"head": 2e-3}, {"head": HEAD_RATE, "backbone": 1e-3}]
    parts = Epochs("d", 1, None, {"backbone.layer4": 1e-3, "last_layer.bias": 5e-3})
    assert black_box_stages([parts])[0].rates == {"head": 5e-3, "backbone.layer4": 1e-3}
    for nothing in (
        [],
        [stage("c", last_layer=1.0)],
        [stage("a", 0, prototypes=1e-3)],
        [Action("projection", project)],
    ):
        with pytest.raises(InputError, match="leave black_box out"):
            black_box_stages(nothing)


def test_a_recipe_says_which_step_is_its_projection():
    stages = [Epochs("joint", 1, None, {"backbone": 1e-3}), Action("push", project)]
    with pytest.raises(InputError, match=r"no stage that is called 'projection' \(it has: joint, push\)"):
        with_test_accuracy(stages, None)
