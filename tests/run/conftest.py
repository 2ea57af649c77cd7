"""Pictures of three colours, and one small run on them that was trained in Python."""

import pytest
import torch
from PIL import Image

import protomask
from tests.support.toy import ColourImages

SMALL = {
    "backbone": "test_resnet",
    "features": 8,
    "image_size": 64,
    "epochs": 1,
    "batch_size": 8,
    "prototypes_per_class": 2,
    "prototype_channels": 16,
    "samples": 4,
    "workers": 0,
    "localizer": "center",
    "progress": False,
    "device": "cpu",
}


def write_image_folder(root, per_class=12, seed=0):
    """An ImageFolder: three classes of ``per_class`` pictures."""
    data = ColourImages(per_class, seed=seed)
    for place, label in enumerate(data.labels.tolist()):
        folder = root / f"colour {label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (data.pixels[place].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{place}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("image folder"))


class Tensors(torch.utils.data.Dataset):
    """(tensor, int)"""

    def __init__(self, per_class=4, seed=0):
        self.images = ColourImages(per_class, seed=seed)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images.pixels[index].clamp(0, 1), int(self.images.labels[index])


@pytest.fixture(scope="session")
def in_memory(tmp_path_factory):
    """A run on Datasets of (tensor, int)."""
    data = Tensors(6), Tensors(3, seed=1)
    output = tmp_path_factory.mktemp("in memory") / "run"
    return protomask.train(data=data, classes=["red", "green", "blue"], output=output, validation=0, **SMALL), data
