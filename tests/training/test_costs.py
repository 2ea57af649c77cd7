"""The costs of ours that keep prototypes on what tells classes apart."""

import pytest
import torch
from torch.nn import functional as F

from protomask.training.costs import cluster_cost, discrimination_cost, diversity_cost, separation_cost

OWNERS = torch.tensor([0, 0, 1, 1, 2])


def test_discrimination_equals_a_plain_loop():
    torch.manual_seed(0)
    distances, labels = 2 * torch.rand(7, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0, 0, 2])
    means = []
    for prototype, owner in enumerate(OWNERS.tolist()):
        near = [max(0.0, 1 - distances[b, prototype].item()) for b in range(7) if labels[b] != owner]
        means.append(sum(near) / len(near))
    assert discrimination_cost(distances, labels, OWNERS).item() == pytest.approx(sum(means) / 5)
    findings = F.one_hot(labels).double()
    assert discrimination_cost(distances, findings, OWNERS).item() == pytest.approx(sum(means) / 5)


def test_discrimination_pushes_what_all_images_have_and_leaves_what_only_the_class_has():
    labels = torch.tensor([0, 0, 1, 1, 2])
    everywhere = torch.full((5, 5), 0.1, requires_grad=True)
    discrimination_cost(everywhere, labels, OWNERS).backward()
    assert (everywhere.grad[labels[:, None] != OWNERS] < 0).all()
    assert everywhere.grad[labels[:, None] == OWNERS].eq(0).all()
    specific = torch.where(labels[:, None] == OWNERS, 0.1, 1.2)
    assert discrimination_cost(specific, labels, OWNERS).item() == 0


def test_a_class_that_all_images_have_costs_nothing():
    distances = torch.rand(2, 5, requires_grad=True)
    cost = discrimination_cost(distances, torch.ones(2, 3), OWNERS)
    cost.backward()
    assert cost.item() == 0 and distances.grad.eq(0).all()


def test_the_separation_from_no_other_class_costs_nothing():
    distances, labels = torch.rand(4, 2, requires_grad=True), torch.zeros(4, dtype=torch.long)
    cost = separation_cost(distances, labels, torch.zeros(2, dtype=torch.long))
    cost.backward()
    assert cost.item() == 0 and distances.grad.eq(0).all()


def test_images_whose_class_has_no_prototype_are_left_out():
    distances, labels, owners = torch.rand(4, 2, requires_grad=True), torch.tensor([0, 1, 0, 1]), torch.zeros(2).long()
    cost = cluster_cost(distances, labels, owners)
    cost.backward()
    assert cost.item() == pytest.approx(distances[[0, 2]].amin(1).mean().item())
    assert distances.grad[[1, 3]].eq(0).all() and distances.grad[[0, 2]].sum().item() == pytest.approx(1)
    assert separation_cost(distances, labels, owners).item() == pytest.approx(distances[[1, 3]].amin(1).mean().item())
    assert separation_cost(torch.full((4, 2), torch.nan), labels, owners).isnan()


def test_diversity_equals_a_plain_loop():
    torch.manual_seed(0)
    prototypes = torch.rand(5, 4, 1, 1, dtype=torch.float64)
    flat = prototypes.flatten(1)
    pairs = [(0, 1), (2, 3)]
    excess = [max(0.0, F.cosine_similarity(flat[a], flat[b], 0).item() - 0.3) ** 2 for a, b in pairs]
    assert diversity_cost(prototypes, OWNERS).item() == pytest.approx(sum(excess) / 2)
    assert diversity_cost(prototypes[:1], OWNERS[:1]).item() == 0
