"""Scores whose evidence is known by hand."""

import torch
from torch import nn


class Region:
    """Mean of the image over one rectangle: nothing else matters."""

    def __init__(self, rows: slice, columns: slice):
        self.rows, self.columns = rows, columns

    def score(self, images, index):
        return images[:, :, self.rows, self.columns].mean((1, 2, 3))


class Both:
    """Product of two regions' means: half of the evidence alone is worth nothing."""

    def __init__(self, one: Region, two: Region):
        self.one, self.two = one, two

    def score(self, images, index):
        return self.one.score(images, index).relu() * self.two.score(images, index).relu()


class Linear:
    """Index i is the weighted sum with weights[i] (3, H, W), plus an offset that may make the score negative."""

    def __init__(self, weights, offset=0.0):
        self.weights, self.offset = weights, offset

    def score(self, images, index):
        return (images * self.weights[index]).sum((1, 2, 3)) + self.offset


class Constant:
    """A differentiable score that is the same for every image."""

    def __init__(self, value: float):
        self.value = value

    def score(self, images, index):
        return images.sum((1, 2, 3)) * 0 + self.value


class Network(nn.Module):
    """Two convolutions with batch norm and dropout, random weights; index i is the maximum of channel i, as for a
    prototype."""

    def __init__(self, channels: int = 4, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, channels, 3, stride=2, padding=1),
        )
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4

    def similarity_maps(self, images, index=None):
        maps = self.body(images)
        return maps if index is None else maps[torch.arange(len(maps)), index]

    def score(self, images, index):
        return self.similarity_maps(images, index).flatten(1).amax(1)

    def forward(self, images):
        return self.body(images).mean((2, 3))


class Patches(nn.Module):
    """The similarity (cosine) of an image's features to those of others at cell ``at``, as prototype networks score."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, features: nn.Module, images: torch.Tensor, at: int):
        super().__init__()
        self.features = features
        with torch.no_grad():
            self.vectors = torch.nn.functional.normalize(features(images)[:, :, at, at])

    def score(self, images, index):
        found = torch.nn.functional.normalize(self.features(images).flatten(2))
        return (found * self.vectors[index, :, None]).sum(1).amax(1)


def pairs(count: int = 5, height: int = 24, width: int = 24, seed: int = 0):
    """Images (count, 3, height, width) and an index of 0 to 3 each."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, height, width, generator=generator), torch.arange(count) % 4
