"""What a number of processes make of the toy data; run alone or by torchrun, it writes the first process's results to a folder.

python tests/distributed/together.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from protomask import distributed
from protomask.projection import project
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from tests.toy import ColourImages, ToyBackbone


def projection(folder: Path, batch_size: int = 5, same: bool = False) -> None:
    """Projects a new network. With ``same``, all images are equal and the first must win."""
    torch.manual_seed(1)
    data = ColourImages()
    if same:
        data.pixels[:] = 0.5
    network = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6)
    row = project(network, TrainingSet(data, data, data.subset([]), batch_size=batch_size))
    name = "same" if same else f"batch{batch_size}"
    if distributed.is_first():
        save_file(network.state_dict(), folder / f"projection-{name}.safetensors")
        (folder / f"projection-{name}.json").write_text(json.dumps(row))


def everything(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    projection(folder)
    projection(folder, batch_size=24)  # all images in one batch: one process has nothing to do
    projection(folder, same=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.job(torch.device("cpu")):
        everything(Path(sys.argv[1]))
