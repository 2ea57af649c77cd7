"""Does a map stay when nothing that can be seen changes? Every image against itself with noise below half a grey level.

    python benchmarks/steadiness.py --root CUB_200_2011 --weights FILE --methods mdm,hdm,gradcam --images 32

    python benchmarks/steadiness.py --root CUB_200_2011 --weights FILE --methods mdm,hdm,gradcam --images 16 --attack 8

Noise uniform within half of one of 256 grey levels is added to each image: in 8 bits it would be the same. For a plain
classifier's own
top class the map of the one is compared with that of the other: Spearman's rank correlation of all pixels, that of
their means over a grid of 14 x 14 cells, and what the tenths of the pixels that come first share (intersection over
union). 95 % intervals over images.

With --attack each image is instead changed by at most so many of 256 grey levels, so that what the method's own map
shows suffices no more while the class stays as probable (protomask.metrics.move_evidence); images whose class changes
are left out.
"""

from __future__ import annotations

import argparse
import sys

import torch
from bad_input import exit_code
from subject import add_options, chosen_methods, opened
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.data import collate
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.metrics import map_correlation, move_evidence, shared_first
from protomask.run.setup import choose_device
from protomask.statistics import bootstrap_mean

COLUMNS = ("rank correlation", "of 14 x 14 cells", "IoU of the first tenth")


def main(words: list[str] | None = None) -> int:
    options = parser().parse_args(words)
    return exit_code("steadiness.py", lambda: run(options))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(found, methods="mdm,hdm,gradcam", images=32, required=True, help="its folder")
    found.add_argument("--seed", type=int, default=0, help="of the choice of images, and of the noise")
    found.add_argument("--attack", type=float, metavar="LEVELS", help="instead of noise, an attack on each map")
    return found


def run(options: argparse.Namespace) -> None:
    if options.attack is not None and not 0 < options.attack <= 255:
        raise InputError(f"--attack is {options.attack:g}; give grey levels above 0 and at most 255")
    device = choose_device(options.device)
    methods = chosen_methods(options)
    generator = torch.Generator().manual_seed(options.seed)
    built, data, order = opened(options, device, generator)
    mean, std = (torch.tensor(each, device=device).view(3, 1, 1) for each in (built.mean, built.std))
    level, bounds = 1 / 255 / std, (-mean / std, (1 - mean) / std)
    score = Classifier(built.model, "log-probability", mean=built.mean, std=built.std).score
    values: dict[str, list[Tensor]] = {name: [] for name in methods}
    with tqdm(total=len(order) * len(methods), desc="maps", unit="map") as bar:
        for start in range(0, len(order), options.batch_size):
            images = collate([data[place] for place in order[start : start + options.batch_size].tolist()])["images"]
            noise = torch.rand(images.shape, generator=generator) - 0.5
            images = images.to(device)
            alike = images + noise.to(device) * level
            with torch.no_grad():
                index = built.model(images).argmax(1)
            for name, method in methods.items():
                explained = Classifier(built.model, method.score, mean=built.mean, std=built.std)
                one = method.localizer(explained, images, index)
                stays = torch.ones_like(index, dtype=torch.bool)
                if options.attack:
                    alike = move_evidence(score, images, index, one, reach=options.attack * level, bounds=bounds)
                    with torch.no_grad():
                        stays = built.model(alike).argmax(1) == index
                other = method.localizer(explained, alike, index)
                values[name].append(compare(one, other)[stays].cpu())
                bar.update(len(images))
    print(f"| method | images | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name, parts in values.items():
        kept = torch.cat(parts)
        found = map(bootstrap_mean, kept.T) if len(kept) else ()
        cells = [f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high, *_ in found] or ["-"] * len(COLUMNS)
        print(f"| {name} | {len(kept)} | {' | '.join(cells)} |")


def compare(one: Tensor, other: Tensor) -> Tensor:
    """(B, 3), as ``COLUMNS``, of maps (B, H, W)."""
    coarse = (F.adaptive_avg_pool2d(each[:, None], 14)[:, 0] for each in (one, other))
    return torch.stack([map_correlation(one, other), map_correlation(*coarse), shared_first(one, other)], 1)


if __name__ == "__main__":
    sys.exit(main())
