import pytest
import torch

from protomask.projection import project
from protomask.training import Action, Epochs, train
from protomask.training.anchoring import SOURCES, WEIGHT, Anchored, measure_drift, source_distances
from protopnet.losses import ProtoPNetLoss
from tests.training.test_trainer import RATES, Killed, make, weights

FEATURES = {"backbone": 3e-2, "add_on": 3e-2}


def projected():
    net, setup = make()
    train(net, [Epochs("joint", 2, ProtoPNetLoss(), RATES), Action("projection", project)], setup)
    return net, setup


def wander(network, images, *others):
    """An objective that takes the features away from where they are."""
    return {"loss": -network(images).distances.mean(), "correct": torch.zeros(())}


def still(network, images, *others):
    return {"loss": 0 * network(images).logits.sum(), "correct": torch.zeros(())}


def settle(objective, epochs=4):
    return [Epochs("settle", epochs, objective, FEATURES, anchored=True)]


def test_a_projected_prototype_is_where_its_source_image_is():
    net, setup = projected()
    net.eval()
    numbers = list(range(net.prototype_count))
    assert source_distances(net, setup, numbers).abs().max() < 1e-5
    assert measure_drift(net, setup) < 1e-5
    with torch.no_grad():
        net.prototypes += 0.5 * torch.randn(net.prototypes.shape, generator=torch.Generator().manual_seed(1))
    each = [
        net(setup.plain[int(net.source_positions[number])]["image"][None]).distances[0, number] for number in numbers
    ]
    assert measure_drift(net, setup) == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    assert measure_drift(net, setup) > 0.01


def test_the_term_draws_features_back_to_prototypes_that_rest():
    net, setup = projected()
    train(net, settle(wander, 1), setup)
    away = measure_drift(net, setup)
    assert away > 0.05
    rest = net.prototypes.clone()
    train(net, [Epochs("back", 6, Anchored(still, setup), FEATURES)], setup)
    assert measure_drift(net, setup) < 0.5 * away
    assert torch.equal(net.prototypes, rest)


def test_source_images_are_seen_at_rest():
    net, setup = projected()
    net.train()
    modes = [module.training for module in net.modules()]
    before = weights(net)
    images = setup.plain[0]["image"][None].repeat(4, 1, 1, 1)
    terms = Anchored(lambda network, images, *others: {"loss": torch.zeros(())}, setup)(net, images, torch.zeros(4))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert terms["loss"] == WEIGHT * terms["anchor"] and terms["anchor"].abs() < 1e-5


def test_only_where_features_run_away_prototypes_are_held(monkeypatch):
    for limit, held in ((0.02, True), (1e6, False)):
        monkeypatch.setattr("protomask.training.passes.LIMIT", limit)
        net, setup = projected()
        rows = train(net, settle(wander), setup)
        assert all("drift" in row for row in rows)
        assert [("anchor" in row) for row in rows] == [False, held, held, held]


def test_distances_without_a_scale_of_their_own_are_left_alone():
    net, setup = projected()
    net.similarity_kind = "l2-log"
    rows = train(net, settle(wander, 2), setup)
    assert not any({"drift", "anchor"} & set(row) for row in rows)


def test_without_it_a_training_stays_to_the_bit(monkeypatch):
    monkeypatch.setattr("protomask.training.passes.LIMIT", 1e6)
    net, setup = projected()
    train(net, settle(ProtoPNetLoss()), setup)
    plain, setup = projected()
    train(plain, [Epochs("settle", 4, ProtoPNetLoss(), FEATURES)], setup)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("death", [1, 2])
def test_a_killed_training_goes_on_holding(tmp_path, monkeypatch, death):
    monkeypatch.setattr("protomask.training.passes.LIMIT", 0.02)
    whole, setup = projected()
    expected = train(whole, settle(wander), setup)

    def die(rows):
        if len(rows) == death:
            raise Killed

    net, setup = projected()
    with pytest.raises(Killed):
        train(net, settle(wander), setup, checkpoint=tmp_path / "state.pt", log=die)
    again, setup = projected()
    rows = train(again, settle(wander), setup, checkpoint=tmp_path / "state.pt")
    assert [row.get("anchor") for row in rows] == [row.get("anchor") for row in expected]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_few_prototypes_are_all_compared():
    net, setup = projected()
    train(net, settle(wander, 1), setup)
    assert net.prototype_count < SOURCES
    terms = Anchored(still, setup)(net, setup.plain[0]["image"][None], torch.zeros(1))
    assert terms["anchor"].item() == pytest.approx(measure_drift(net, setup), rel=1e-5)
