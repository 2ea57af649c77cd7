"""ProtoPNet in a loop of one's own: train it on any Dataset, then make a run of it.

python examples/own_loop.py FOLDER [OUTPUT]     FOLDER/CLASS/*.jpg, as torchvision's ImageFolder reads it
"""

import sys

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import protomask
from protomask.backbones import build_backbone
from protomask.data import collate
from protomask.data.transforms import training_transform
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss


def main(folder: str, output: str = "own-run", size: int = 64, epochs: int = 10) -> float:
    """Train and make a run; returns the accuracy on test images after the projection."""
    torch.manual_seed(0)
    splits = protomask.from_datasets(ImageFolder(folder), 0.25, validation=0)
    backbone = build_backbone("test_resnet")  # any name that timm knows
    network = ProtoPNet(backbone, splits.train.classes, image_size=size, prototypes_per_class=2, channels=16)
    train = splits.train.with_transform(training_transform(size, network.mean, network.std))

    loss = ProtoPNetLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for epoch in range(epochs):
        network.train()
        for batch in DataLoader(train, batch_size=8, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            terms = loss(network, batch["images"], batch["labels"])
            terms["loss"].backward()
            optimizer.step()
            network.keep_evidence()  # of a network with evidence="positive"; signed evidence allows all
        print(f"epoch {epoch + 1}: loss {terms['loss'].item():.3f}")

    # Its prototypes move onto training patches; from here on it is a run as any other.
    run = protomask.save_run(network, splits, output, project=True, batch_size=8, samples=8)
    print(run.project("similarity").table())
    return run.metrics["test_accuracy"]["final"]


if __name__ == "__main__":
    print("accuracy on test images:", main(*sys.argv[1:]))
