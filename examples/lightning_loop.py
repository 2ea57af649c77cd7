"""ProtoPNet in Lightning's Trainer, and a run of it: python examples/lightning_loop.py FOLDER [OUTPUT]"""

import sys

import lightning
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import protomask
from protomask.backbones import build_backbone
from protomask.data import collate
from protomask.data.transforms import training_transform
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss


class LitProtoPNet(lightning.LightningModule):
    def __init__(self, classes: tuple[str, ...], size: int) -> None:
        super().__init__()
        self.network = ProtoPNet(build_backbone("test_resnet"), classes, image_size=size, channels=16)
        self.objective = ProtoPNetLoss()

    def training_step(self, batch: dict, number: int) -> torch.Tensor:
        terms = self.objective(self.network, batch["images"], batch["labels"])
        self.log_dict({name: value.detach() for name, value in terms.items()}, batch_size=len(batch["labels"]))
        return terms["loss"]

    def on_train_batch_end(self, *given) -> None:
        self.network.keep_evidence()  # of a network with evidence="positive"; signed evidence allows all

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main(folder: str, output: str = "lightning-run", size: int = 64, epochs: int = 10, **trainer) -> protomask.Run:
    splits = protomask.from_datasets(ImageFolder(folder), 0.25, validation=0)
    model = LitProtoPNet(splits.train.classes, size)
    images = splits.train.with_transform(training_transform(size, model.network.mean, model.network.std))
    loader = DataLoader(images, batch_size=8, shuffle=True, collate_fn=collate)
    lightning.Trainer(max_epochs=epochs, **trainer).fit(model, loader)
    return protomask.save_run(model.network, splits, output, project=True, batch_size=8)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
