"""Distill an explainer for a plain classifier from training images, and say what it costs; then measure it by masks.py.

    python benchmarks/distill.py --root CUB_200_2011 --weights FILE --output runs/explainer
    python benchmarks/masks.py --root CUB_200_2011 --weights FILE --images 100 --output runs/masks \\
        --methods gradcam,mdm,distilled:folder=runs/explainer,distilled:folder=runs/explainer,steps=5

The same command goes on where it was stopped. At the end, seconds of one forward pass and of one map by the explainer,
alone and without its check, and the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from bad_input import check_counts, exit_code
from subject import add_options, check_images, opened

from protomask.distillation import distill
from protomask.explainable import Classifier
from protomask.localizers.distilled import Distilled
from protomask.run.setup import choose_device


def main(words: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(found, methods=None, images=None, required=True, help="its folder")
    for name, default in (("steps", 600), ("maps", 256), ("imitation", 400), ("seed", 0)):
        found.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    found.add_argument("--output", default="runs/explainer", help="folder of the explainer (runs/explainer)")
    options = found.parse_args(words)
    return exit_code("distill.py", lambda: run(options))


def run(options: argparse.Namespace) -> None:
    check_images(options)
    check_counts(options, ("steps", "maps", "imitation", "seed"), 0)
    device = choose_device(options.device)
    options.split = "train"
    built, data, order = opened(options, device, torch.Generator().manual_seed(options.seed))
    explained = Classifier(built.model, mean=built.mean, std=built.std)
    distilled = distill(
        explained,
        data.subset(order),
        output=options.output,
        image_size=built.image_size,
        device=device,
        batch_size=options.batch_size,
        progress=True,
        **{name: getattr(options, name) for name in ("steps", "maps", "imitation", "seed")},
    )
    about = distilled.opened().about
    image = data[0]["image"].as_subclass(torch.Tensor)[None].to(device)
    print(
        json.dumps(
            {
                "seconds": about["training"]["seconds"],
                "held_out": about["held_out"],
                "weights": sum(each.numel() for each in distilled.opened().network.parameters()),
                "last": about["training"]["log"][-1:],
                **times(built.model, distilled, explained, image),
            },
            indent=1,
        )
    )


def times(model: torch.nn.Module, distilled: Distilled, explained: Classifier, image: torch.Tensor) -> dict[str, float]:
    """Median seconds of a forward pass, a map, and a map with its check, taken in turn."""
    index, quick = torch.zeros(1, dtype=torch.long, device=image.device), replace(distilled, check=False)
    work = {
        "forward": lambda: model(image),
        "map": lambda: quick(explained, image, index),
        "checked map": lambda: distilled(explained, image, index),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    with torch.no_grad():
        for _ in range(30):
            for name, each in work.items():
                taken[name].append(seconds(each))
    middle = {name: statistics.median(each[5:]) for name, each in taken.items()}
    return {**middle, "map / forward": middle["map"] / middle["forward"]}


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


if __name__ == "__main__":
    raise SystemExit(main())
