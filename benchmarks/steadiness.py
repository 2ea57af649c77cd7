"""Does a map stay when nothing that can be seen changes? Every image against itself with noise below half a grey level.

    python benchmarks/steadiness.py --root CUB_200_2011 --weights FILE --methods mdm,hdm,gradcam --images 32

Noise uniform within half of one of 256 grey levels is added to each image: in 8 bits it would be the same. For a plain classifier's own
top class the map of the one is compared with that of the other: Spearman's rank correlation of all pixels, that of their means over
a grid of 14 x 14 cells, and what the tenths of the pixels that come first share (intersection over union). 95 % bootstraps over images.
"""

from __future__ import annotations

import argparse
import sys

import torch
from methods import SCORES, get_method
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.backbones.classifier import build_classifier
from protomask.commands.setup import choose_device
from protomask.data import collate, load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.metrics import bootstrap_mean, map_correlation

COLUMNS = ("rank correlation", "of 14 x 14 cells", "IoU of the first tenth")


def main(words: list[str] | None = None) -> int:
    options = parser().parse_args(words)
    try:
        run(options)
    except InputError as error:
        print(f"steadiness.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", default="cub", help="data set (cub)")
    found.add_argument("--root", required=True, help="its folder")
    found.add_argument("--split", choices=("train", "test"), default="test")
    found.add_argument("--model", default="mobilenetv2_100:pad_type=same,mean=0.5,std=0.5", help="classifier of timm, or torchvision/NAME")
    found.add_argument("--weights", help="its weights: .safetensors or weights-only .pth")
    found.add_argument("--image-size", type=int, help="side in pixels; the model's own by default")
    found.add_argument("--methods", default="mdm,hdm,gradcam", help=f"separated by commas, of: {', '.join(SCORES)}")
    found.add_argument("--images", type=int, default=32, help="how many, chosen by the seed (32)")
    found.add_argument("--batch-size", type=int, default=8, help="images per call (8)")
    found.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    found.add_argument("--seed", type=int, default=0, help="of the choice of images, and of the noise")
    return found


def run(options: argparse.Namespace) -> None:
    device = choose_device(options.device)
    methods = {name: get_method(name) for name in options.methods.split(",") if name}
    if options.images < 1 or options.batch_size < 1:
        raise InputError(f"--images is {options.images} and --batch-size {options.batch_size}; give at least 1")
    built = build_classifier(options.model, weights=options.weights, image_size=options.image_size)
    built.model.to(device, memory_format=torch.channels_last)
    data = load_data(options.data, options.root, crop=False, validation=0, image_size=built.image_size)
    data = getattr(data, options.split).with_transform(evaluation_transform(built.image_size, built.mean, built.std))
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(len(data), generator=generator)[: options.images].tolist()
    level = 1 / 255 / torch.tensor(built.std).view(3, 1, 1)
    values: dict[str, list[Tensor]] = {name: [] for name in methods}
    with tqdm(total=len(order) * len(methods), desc="maps", unit="map") as bar:
        for start in range(0, len(order), options.batch_size):
            images = collate([data[place] for place in order[start : start + options.batch_size]])["images"]
            alike = (images + (torch.rand(images.shape, generator=generator) - 0.5) * level).to(device)
            images = images.to(device)
            with torch.no_grad():
                index = built.model(images).argmax(1)
            for name, method in methods.items():
                explained = Classifier(built.model, method.score, mean=built.mean, std=built.std)
                one, other = (method.localizer(explained, shown, index) for shown in (images, alike))
                values[name].append(compare(one, other).cpu())
                bar.update(len(images))
    print(f"| method | images | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name, parts in values.items():
        cells = [f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high, _ in map(bootstrap_mean, torch.cat(parts).T)]
        print(f"| {name} | {len(order)} | {' | '.join(cells)} |")


def compare(one: Tensor, other: Tensor) -> Tensor:
    """(B, 3), as ``COLUMNS``, of maps (B, H, W)."""
    coarse = (F.adaptive_avg_pool2d(each[:, None], 14)[:, 0] for each in (one, other))
    first = [each.flatten(1).argsort(1, descending=True).argsort(1) < each[0].numel() // 10 for each in (one, other)]
    shared = (first[0] & first[1]).sum(1) / (first[0] | first[1]).sum(1)
    return torch.stack([map_correlation(one, other), map_correlation(*coarse), shared], 1)


if __name__ == "__main__":
    sys.exit(main())
