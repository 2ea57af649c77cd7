"""A classifier whose evidence is known: the bright square alone, though its last feature map smears it."""

import torch
from torch import nn

from tests.support.toy import ColourImages

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "image_size": 32}
QUICK = {"maps": 8, "imitation": 15, "steps": 60}


class Smeared(nn.Module):
    """Class c counts pixels that are bright in channel c; the map that it reads the count from is blurred."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.bright = nn.Conv2d(3, 3, 2, stride=2)
        self.smear = nn.Conv2d(3, 3, 9, padding=4, bias=False)
        self.head = nn.Linear(3, classes)
        with torch.no_grad():
            self.bright.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) / 4)
            self.bright.bias.fill_(-0.5)
            self.smear.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 9, 9) / 81)
            self.head.weight.copy_(40 * torch.eye(3)[torch.arange(classes) % 3])
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(self.smear(self.bright(images).relu()).mean((2, 3)))


def mass_inside(maps, data):
    """Mean share of the maps' mass within the squares; maps of 32 x 32 of images of 16 x 16."""
    shares = []
    for place, (row, column) in enumerate(data.corners.tolist()):
        box = maps[place, 2 * row : 2 * row + 16, 2 * column : 2 * column + 16]
        shares.append(float(box.sum() / maps[place].sum().clamp_min(1e-9)))
    return sum(shares) / len(shares)


def enlarged(data):
    """The pixels of a data set at 32 x 32, and the labels."""
    return nn.functional.interpolate(data.pixels.clamp(0, 1), 32, mode="nearest"), data.labels


def unseen(per_class: int = 6):
    return ColourImages(per_class, seed=9)
