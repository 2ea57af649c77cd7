"""ProtoPNet in a loop of one's own: train it on any Dataset, project its prototypes, save it, load it again.

python examples/own_loop.py FOLDER [OUTPUT]     FOLDER/CLASS/*.jpg, as torchvision's ImageFolder reads it
"""

import sys

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import protomask
from protomask.backbones import build_backbone
from protomask.data import collate
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.training import TrainingSet, accuracy
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss


def main(folder: str, output: str = "own-network", size: int = 64, epochs: int = 10) -> float:
    """Train, project and save; returns the accuracy on test images after the projection."""
    torch.manual_seed(0)
    splits = protomask.from_datasets(ImageFolder(folder), 0.25, validation=0)
    backbone = build_backbone("test_resnet")  # any name that timm knows
    network = ProtoPNet(backbone, splits.train.classes, image_size=size, prototypes_per_class=2, channels=16)
    train = splits.train.with_transform(training_transform(size, network.mean, network.std))
    plain = evaluation_transform(size, network.mean, network.std)

    loss = ProtoPNetLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for epoch in range(epochs):
        network.train()
        for batch in DataLoader(train, batch_size=8, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            terms = loss(network, batch["images"], batch["labels"])
            terms["loss"].backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {terms['loss'].item():.3f}")

    network.eval()
    validation = splits.validation.with_transform(plain)
    setup = TrainingSet(train, splits.train.with_transform(plain), validation, batch_size=8)
    print("projection:", protomask.project(network, setup))
    network.save(output)
    loaded = protomask.load_network(output)
    return accuracy(loaded, splits.test.with_transform(plain), setup, "test")


if __name__ == "__main__":
    print("accuracy on test images:", main(*sys.argv[1:]))
