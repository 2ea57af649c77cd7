"""What a number of processes make of the toy data; the first process's results go to a folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from protomask import distributed
from protomask.projection import project
from protomask.training import Action, Epochs, TrainingSet, predict, train
from protomask.training.last_layer import fit_last_layer
from protomask.training.stages import warm_up_cosine
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss
from protopnet.start import start_from_data
from tests.support.toy import ColourImages, ToyBackbone


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


def plan() -> list:
    """Losses that are means over the images of a batch, so that the number of processes changes nothing but
    rounding."""
    rates = {"backbone": 1e-2, "add_on": 1e-2, "prototypes": 1e-2}
    return [
        Action("start", start_from_data),
        Epochs("joint", 4, ProtoPNetLoss(), rates, schedule=warm_up_cosine()),
        Action("projection", project),
        Action("last layer", lambda network, setup: fit_last_layer(network, setup, l1=1e-4, passes=2)),
    ]


def training_set() -> TrainingSet:
    data = ColourImages(13)
    return TrainingSet(data.with_transform(brighten), data, ColourImages(4, seed=1), batch_size=9, seed=5)


def brighten(sample: dict) -> dict:
    """A random transform, so that the samples' seeds matter."""
    sample["image"] = sample["image"] * (0.8 + 0.4 * torch.rand(()))
    return sample


def new_network() -> ProtoPNet:
    torch.manual_seed(3)
    return ProtoPNet(ToyBackbone(), training_set().train.classes, image_size=16, prototypes_per_class=2, channels=6)


def training(folder: Path) -> None:
    """Trains with odd batches; keeps the checkpoint of the middle of epoch 2, from which any number of processes may go
    on."""
    network, setup = new_network(), training_set()
    path = folder / "checkpoint" / "state.pt"

    def keep(rows: list) -> None:
        if len(rows) == 3:
            shutil.copy(path, folder / "two_epochs.pt")

    rows = train(network, plan(), setup, checkpoint=path, log=keep, minutes=0)
    logits, labels = predict(network, setup.validation, setup)
    if distributed.is_first():
        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file({**state, "logits": logits, "labels": labels}, folder / "trained.safetensors")
        (folder / "rows.json").write_text(json.dumps(rows))


def statistics(folder: Path) -> None:
    """BatchNorm that learns its statistics alone, from batches that halve evenly."""
    torch.manual_seed(3)
    setup = dataclasses.replace(training_set(), batch_size=10)
    network = ProtoPNet(ToyBackbone(norm=True), setup.train.classes, image_size=16, prototypes_per_class=2, channels=6)
    train(network, [Epochs("joint", 2, ProtoPNetLoss(), {"backbone": 0.0})], setup)
    means = distributed.gather((network.backbone.norm.running_mean, network.backbone.norm.running_var))
    if distributed.is_first():
        save_file(
            {f"{name}{rank}": held for rank, pair in enumerate(means) for name, held in zip(("mean", "var"), pair)},
            folder / "statistics.safetensors",
        )


def everything(folder: Path) -> None:
    with distributed.job(torch.device("cpu")):
        training(folder)
        statistics(folder)
        projection(folder)
        projection(folder, batch_size=24)  # all images in one batch: one process has nothing to do
        projection(folder, same=True)
