"""Maps of a Transformer where the truth is known: a small ViT, trained on the embedded scenes, explained.

    python benchmarks/transformer.py --output runs/transformer

Trains a ViT of timm (random weights, 64 patches of 12 pixels) on ``parts`` and measures localizers on test images by
``protomask compare``: what a class's score rests on is known, since each scene can be drawn without any of its parts.
The training (a file for each kind of it), the maps and the values are kept in OUTPUT, so that the command can be
stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from bad_input import check_counts, exit_code
from subject import chosen_metrics, print_contests
from torch import Tensor, nn

import protomask
from protomask.backbones.classifier import build_classifier
from protomask.data import AnnotatedImages, load_data
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.files import text_digest
from protomask.localizers import get_localizers
from protomask.prototype_network import Prediction
from protomask.run.setup import choose_device
from protomask.training import Epochs, TrainingSet, train
from protomask.training.black_box import classification_loss
from protomask.training.prediction import accuracy
from protomask.training.stages import warm_up_cosine

MODEL = "vit_tiny_patch16_224:patch_size=12,embed_dim=128,depth=4,num_heads=4"
METHODS = "mdm,hdm,gradcam:layer=blocks.3.norm1,attention-rollout,chefer,rise,random"
COUNTS = {"image-size": 96, "epochs": 30, "train-per-class": 400, "test-per-class": 50, "images": 100}
METRICS = "insertion,deletion,average_drop,energy_mask,part_correlation,top_part,causal_overlap,steadiness,steady_tenth"


class Subject(nn.Module):
    """A classifier as the training wants it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Prediction:
        logits = self.model(images)
        return Prediction(logits, logits, logits)


def main(words: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--output", type=Path, default=Path("runs/transformer"), help="folder (runs/transformer)")
    found.add_argument("--model", default=MODEL, help=f"Transformer of timm ({MODEL})")
    found.add_argument("--methods", default=METHODS, help="separated by commas")
    found.add_argument("--metrics", default=METRICS, help="separated by commas")
    for name, default in {**COUNTS, "seed": 0}.items():
        found.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    found.add_argument("--device", default="auto")
    options = found.parse_args(words)
    return exit_code("transformer.py", lambda: run(options))


def run(options: argparse.Namespace) -> None:
    check_counts(options, [name.replace("-", "_") for name in COUNTS])
    check_counts(options, ["seed"], 0)
    methods, metrics = get_localizers(options.methods), chosen_metrics(options.metrics)
    size, device = options.image_size, choose_device(options.device)
    data = load_data(
        "parts",
        train_per_class=options.train_per_class,
        test_per_class=options.test_per_class,
        validation=0.0,
        image_size=size,
        progress=True,
    )
    torch.manual_seed(options.seed)
    built = build_classifier(f"{options.model},num_classes={len(data.train.classes)}", image_size=size)
    plain = evaluation_transform(size, built.mean, built.std)
    test = data.test.with_transform(plain)
    setup = TrainingSet(
        train=data.train.with_transform(training_transform(size, built.mean, built.std)),
        plain=data.train.with_transform(plain),
        validation=data.validation.with_transform(plain),
        device=device,
        seed=options.seed,
        progress=True,
    )
    subject = Subject(built.model.to(device))
    rates, decay = {"model": 1e-3}, {"model": 0.05}
    stage = Epochs("joint", options.epochs, classification_loss, rates, decay, schedule=warm_up_cosine())
    options.output.mkdir(parents=True, exist_ok=True)
    train(subject, [stage], setup, checkpoint=options.output / f"training-{kind_of_training(options, data.train)}.pt")
    print(f"accuracy on {len(test)} test images: {accuracy(subject.eval(), test, setup):.3f}")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(options.seed))
    found = protomask.compare(
        built.model,
        test.subset(order[: options.images]),
        methods,
        mean=built.mean,
        std=built.std,
        image_size=size,
        metrics=metrics,
        seed=options.seed,
        device=device,
        cache=options.output,
        progress=True,
    )
    print_contests(found, methods)


def kind_of_training(options: argparse.Namespace, data: AnnotatedImages) -> str:
    """A digest of all that decides the weights, so that other options never go on with another training."""
    chosen = [getattr(options, name) for name in ("model", "image_size", "epochs", "train_per_class", "seed")]
    return text_digest(repr([*chosen, data.fingerprint()]))


if __name__ == "__main__":
    sys.exit(main())
