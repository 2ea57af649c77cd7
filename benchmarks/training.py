"""What our training loop costs beside a bare one: forward, backward and step on the same batches.

    python benchmarks/training.py --backbone test_resnet --image-size 96 --images 256

Both loops load the same batches in the same way, by turns, an epoch each; the network begins each of them with the same
weights. Seconds are of the processor (all threads), which a busy machine does not lengthen, and of the clock; the ratio
is the median of the pairs'.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from bad_input import check_counts, exit_code
from torchvision import tv_tensors

from protomask.backbones import build_backbone
from protomask.data import AnnotatedImages
from protomask.training import Epochs, TrainingSet, train
from protomask.training.loading import derive_seed, shuffled_batches
from protomask.training.passes import epoch_seed
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss


class Noise(AnnotatedImages):
    """Images that are there already."""

    def __init__(self, count: int, side: int, classes: int) -> None:
        super().__init__(map(str, range(classes)), torch.arange(count) % classes, map(str, range(count)))
        self.pixels = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))

    def load(self, index: int) -> dict:
        side = self.pixels.shape[-1]
        boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(side, side))
        return {"image": tv_tensors.Image(self.pixels[index]), "boxes": boxes}


def main(words: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--backbone", default="test_resnet")
    for name, default in (("image-size", 96), ("images", 256), ("batch-size", 32), ("classes", 10), ("pairs", 5)):
        found.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    options = found.parse_args(words)
    return exit_code("training", lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Train in turn, and print."""
    check_counts(options, ("image_size", "images", "batch_size", "classes", "pairs"))
    data = Noise(options.images, options.image_size, options.classes)
    setup = TrainingSet(data, data, data.subset([]), batch_size=options.batch_size)
    torch.manual_seed(0)
    network = ProtoPNet(
        build_backbone(options.backbone, image_size=options.image_size), data.classes, image_size=options.image_size
    )
    objective = ProtoPNetLoss(coverage=1.0, label_smoothing=0.1)
    loops = {
        "ours": lambda net: train(net, [Epochs("joint", 1, objective, RATES)], setup),
        "bare": lambda net: bare(net, objective, setup),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    ended = {}
    for _ in range(options.pairs + 1):
        for name, loop in loops.items():
            own = copy.deepcopy(network).to(memory_format=torch.channels_last)
            taken[name].append(seconds(lambda loop=loop, own=own: loop(own)))
            ended[name] = own
    alike = all(torch.equal(one, other) for one, other in zip(ended["ours"].parameters(), ended["bare"].parameters()))
    pairs = list(zip(taken["ours"][1:], taken["bare"][1:]))  # the first of each warms up
    print(
        json.dumps(
            {
                **vars(options),
                "same weights": alike,
                **{
                    f"{kind} ratio": statistics.median(ours[place] / other[place] for ours, other in pairs)
                    for place, kind in enumerate(("processor", "clock"))
                },
                "processor seconds an epoch": statistics.median(other[0] for _, other in pairs),
            },
            indent=1,
        )
    )


RATES = {"backbone": 3e-3, "add_on": 3e-3, "prototypes": 3e-3}


def bare(network: ProtoPNet, objective: ProtoPNetLoss, setup: TrainingSet) -> None:
    """One epoch without anything around it."""
    for name in RATES:
        part = getattr(network, name)
        if isinstance(part, torch.nn.Module):
            part.train()
    network.last_layer.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in network.parameters() if parameter.requires_grad], lr=3e-3, weight_decay=0.0
    )
    batches = shuffled_batches(len(setup.train), setup.batch_size, epoch_seed(setup.seed, 0, 0))
    for step, batch in enumerate(setup.seeded_loader(setup.train)(batches)):
        torch.manual_seed(derive_seed(epoch_seed(setup.seed, 0, 0), -1 - step))
        images = batch["images"].to(memory_format=torch.channels_last)
        loss = objective(network, images, batch["labels"])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Of the processor, and of the clock."""
    busy, begin = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - busy, time.perf_counter() - begin


if __name__ == "__main__":
    raise SystemExit(main())
