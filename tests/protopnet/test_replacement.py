"""Prototypes on what every image has make room for those that tell classes apart."""

import torch

from protomask.projection import project
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from protopnet.replacement import balanced_choice, discrimination_on, replace_common
from tests.support.toy import ColourImages, ToyBackbone


def make(similarity="cosine"):
    torch.manual_seed(1)
    data = ColourImages()
    net = ProtoPNet(
        ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6, similarity=similarity
    )
    setup = TrainingSet(data, data, data.subset([]), batch_size=5)
    project(net, setup)
    return net, setup


def everything(net, setup):
    images = torch.stack([setup.plain[place]["image"].as_subclass(torch.Tensor) for place in range(len(setup.plain))])
    with torch.no_grad():
        return net.eval().features(images)


def test_discrimination_is_the_share_of_pairs_that_are_told_apart():
    net, setup = make()
    features, labels = everything(net, setup), setup.plain.labels
    found = discrimination_on(net, net.prototypes.detach(), features, labels, net.prototype_classes)
    with torch.no_grad():
        scores = -net._distance_maps(features).flatten(2).amin(2)
    for prototype, owner in enumerate(net.prototype_classes.tolist()):
        own, others = scores[labels == owner, prototype], scores[labels != owner, prototype]
        pairs = (own[:, None] > others).double() + 0.5 * (own[:, None] == others)
        assert found[prototype].item() == pairs.mean().item()


def test_a_prototype_that_every_image_has_is_replaced_by_one_that_tells_its_class():
    for similarity in ("cosine", "l2-log"):
        net, setup = make(similarity)
        features = everything(net, setup)
        # The mean patch is as near to every class.
        net.set_prototypes(torch.tensor([3]), features.mean((0, 2, 3))[None, :, None, None])
        labels, owners = setup.plain.labels, net.prototype_classes
        before = discrimination_on(net, net.prototypes.detach(), features, labels, owners)
        kept = net.prototypes.detach().clone()
        row = replace_common(net, setup)
        after = discrimination_on(net, net.prototypes.detach(), features, labels, owners)
        poor = before < 0.7
        assert poor[3] and row["replaced"] == int((kept != net.prototypes).flatten(1).any(1).sum()) >= 1
        assert after[3] > before[3] and torch.equal(kept[~poor], net.prototypes.detach()[~poor])


def test_the_same_choice_every_time():
    found = []
    for _ in range(2):
        net, setup = make()
        net.set_prototypes(torch.tensor([0, 1]), torch.ones(2, 6, 1, 1))
        replace_common(net, setup)
        found.append(net.prototypes.detach().clone())
    assert torch.equal(*found)


def test_large_data_are_looked_at_in_equal_shares():
    labels = torch.tensor([0] * 90 + [1] * 10)
    chosen = balanced_choice(labels, 2, 20, torch.Generator().manual_seed(0))
    assert chosen.tolist() == sorted(set(chosen.tolist())) and labels[chosen].bincount().tolist() == [10, 10]
    assert balanced_choice(labels, 2, 100, torch.Generator()).tolist() == list(range(100))
