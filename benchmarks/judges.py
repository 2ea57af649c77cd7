"""Do maps carry over: localizers of one classifier, judged by a second one of the same classes.

    python benchmarks/judges.py --root CUB_200_2011 --weights FILE --judge tf_efficientnet_lite0 --judge-weights FILE \\
        --methods mdm,hdm,gradcam --images 100 --output runs/judges

The photographs are the first ones, in an order drawn by the seed, for which both networks find the same class most
probable; that class is explained. Measures, intervals (95 %, over images) and corrected verdicts are those of
``protomask compare``; maps and values are kept in OUTPUT, so that the command can be stopped and methods can be added.
"""

from __future__ import annotations

import argparse
import sys

import torch
from subject import add_options, chosen_methods, exit_code, opened
from tqdm import tqdm

import protomask
from protomask.backbones.classifier import build_classifier
from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.localization.compare import JudgedClassifier
from protomask.localization.preprocessing import Preprocessing
from protomask.run.setup import choose_device

METRICS = ("insertion", "deletion", "average_drop", "energy_box", "judge_insertion", "judge_deletion", "judge_kept")


def main(words: list[str] | None = None) -> int:
    options = parser().parse_args(words)
    return exit_code("judges.py", lambda: run(options))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(found, methods="mdm,gradcam", images=100, required=True, help="its folder")
    found.add_argument("--judge", required=True, metavar="MODEL", help="the second classifier, named as --model")
    found.add_argument("--judge-weights", metavar="FILE", help="its weights")
    found.add_argument("--metrics", default=",".join(METRICS), help="separated by commas")
    found.add_argument("--seed", type=int, default=0, help="of the choice of images, and of the intervals")
    found.add_argument("--output", default="runs/judges", help="folder of maps and values (runs/judges)")
    return found


def run(options: argparse.Namespace) -> None:
    device = choose_device(options.device)
    methods = chosen_methods(options)
    wanted, options.images = options.images, None
    built, data, order = opened(options, device, torch.Generator().manual_seed(options.seed))
    judge = build_classifier(options.judge, weights=options.judge_weights)
    judge.model.to(device)
    wants = [Preprocessing(each.image_size, each.mean, each.std) for each in (built, judge)]
    pair = JudgedClassifier(built.model, wants[0], judge.model, wants[1])
    agreed = agreeing(pair, data, order.tolist(), wanted, device)
    print(f"{len(agreed)} of {wanted} photographs: {options.model} judged by {options.judge}")
    found = protomask.compare(
        built.model,
        data.subset(torch.tensor(agreed)),
        list(methods),
        judge=judge.model,
        judge_preprocessing=wants[1]._asdict(),
        mean=built.mean,
        std=built.std,
        metrics=options.metrics.split(","),
        seed=options.seed,
        batch_size=options.batch_size,
        device=device,
        cache=options.output,
        progress=True,
    )
    print(found.table())
    for name in methods:
        for other in methods:
            if name in ("mdm", "hdm") and other != name:
                print(f"\n{found.contest(name, other)}")


def agreeing(
    pair: JudgedClassifier, data: AnnotatedImages, order: list[int], wanted: int, device: torch.device
) -> list[int]:
    """The first ``wanted`` positions of ``order`` at which both networks find the same class most probable."""
    found: list[int] = []
    with torch.no_grad(), tqdm(total=wanted, desc="agreed", unit="image") as bar:
        for place in order:
            if len(found) == wanted:
                break
            image = data[place]["image"].as_subclass(torch.Tensor)[None].to(device)
            if pair.logits(image).argmax() == pair.judge.logits(pair.judge_images(image)).argmax():
                found.append(place)
                bar.update()
    if not found:
        raise InputError("the two networks agree on no photograph; give networks of the same classes")
    return found


if __name__ == "__main__":
    sys.exit(main())
