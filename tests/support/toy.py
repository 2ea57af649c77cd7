"""Small networks and data whose right answers can be worked out by hand; shared by the tests."""

import torch
from torch import nn
from torchvision import tv_tensors

from protomask.data import AnnotatedImages


class ToyBackbone(nn.Module):
    """Mean over cells of 4x4 pixels, then a fixed number of channels; geometry without surprises."""

    name = "toy"
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, channels: int = 8, norm: bool = False):
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(3, channels, 4, stride=4)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, images):
        return self.norm(self.convolution(images))

    def grid(self, image_size):
        return image_size // 4, image_size // 4

    def settings(self):
        return {"name": "toy"}


class ColourImages(AnnotatedImages):
    """Class c is a square bright in channel c on a dim noisy ground; 16x16 pixels, the square's box known."""

    def __init__(self, per_class: int = 8, classes: int = 3, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(classes).repeat_interleave(per_class)
        self.pixels = torch.rand(len(labels), 3, 16, 16, generator=generator) * 0.2
        self.corners = torch.randint(0, 9, (len(labels), 2), generator=generator)
        for place, label in enumerate(labels.tolist()):
            row, column = self.corners[place].tolist()
            self.pixels[place, label % 3, row : row + 8, column : column + 8] += 0.8
        super().__init__(
            [f"class {number}" for number in range(classes)],
            labels,
            [f"seed{seed}/{number}" for number in range(len(labels))],
        )

    def load(self, index):
        row, column = self.corners[index].tolist()
        boxes = tv_tensors.BoundingBoxes(
            [[column, row, column + 8, row + 8]], format="XYXY", canvas_size=(16, 16), dtype=torch.float32
        )
        return {"image": tv_tensors.Image(self.pixels[index]), "boxes": boxes}


class ForeignPPNet(nn.Module):
    """In the style of the official code: squared distances of prototypes (P, D, 1, 1) to every cell, a logarithm, a
    linear layer."""

    def __init__(self, classes=3, each=2):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Sigmoid())
        self.prototype_vectors = nn.Parameter(torch.rand(classes * each, 6, 1, 1))
        self.prototype_class_identity = torch.eye(classes).repeat_interleave(each, 0)
        self.last_layer = nn.Linear(classes * each, classes, bias=False)

    def push_forward(self, x):
        z = self.features(x)
        return z, (z[:, None] - self.prototype_vectors[None]).square().sum(2)

    def distance_2_similarity(self, distances):
        return torch.log((distances + 1) / (distances + 1e-4))

    def forward(self, x):
        least = self.push_forward(x)[1].flatten(2).amin(2)
        return self.last_layer(self.distance_2_similarity(least)), least
