"""Scenes with several objects of one class, each of which suffices for it: what is found of the others."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protomask.explainable import Classifier
from protomask.localizers import HDM, MDM, Cascade

SIDE, RADIUS = 64, 5
PLACES = ((16, 16), (48, 44), (18, 50))


class FindsDiscs(nn.Module):
    """The class is as probable as the place that looks most like a disc makes it: one disc is as good as three."""

    def __init__(self):
        super().__init__()
        offset = torch.arange(-8, 9)
        distance = (offset[:, None] ** 2 + offset**2).float().sqrt()
        disc, ring = (distance <= RADIUS).float(), ((distance > RADIUS) & (distance <= 8)).float()
        self.register_buffer("kernel", (disc / disc.sum() - ring / ring.sum())[None, None])

    def forward(self, images):
        found = F.conv2d(images.mean(1, keepdim=True), self.kernel, padding=8).flatten(1).amax(1)
        return torch.stack([10 * found - 10, torch.zeros_like(found)], 1)


def scene(count):
    """An image (1, 3, S, S) of noise with discs, and where each is."""
    image = 0.1 * torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    discs = [(rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2 for row, column in PLACES[:count]]
    for disc in discs:
        image[0, :, disc] += 1.5
    return image, discs


def shares_found(saliency, discs):
    """How much of each disc is among as many of the first pixels as the discs have together."""
    count = int(sum(disc.sum() for disc in discs))
    first = torch.zeros(SIDE * SIDE, dtype=torch.bool)
    first[saliency.flatten().argsort(descending=True)[:count]] = True
    return [first.view(SIDE, SIDE)[disc].float().mean().item() for disc in discs]


@pytest.mark.parametrize("count, hdm", [(2, HDM()), (3, HDM(cascade=Cascade(modules=3)))])
def test_hdm_finds_every_object_and_mdm_the_one_that_suffices(count, hdm):
    image, discs = scene(count)
    explained, index = Classifier(FindsDiscs().eval()), torch.tensor([0])
    assert explained.score(image, index).exp() > 0.95
    assert min(shares_found(hdm(explained, image, index)[0], discs)) > 0.6
    assert sorted(shares_found(MDM()(explained, image, index)[0], discs))[-2] < 0.3


def test_with_one_object_nothing_else_is_shown():
    image, discs = scene(1)
    saliency = HDM()(Classifier(FindsDiscs().eval()), image, torch.tensor([0]))[0]
    assert shares_found(saliency, discs)[0] > 0.75
    assert saliency[~discs[0]].mean() < 0.05
