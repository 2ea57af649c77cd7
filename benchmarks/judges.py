"""Do maps carry over: localizers of one classifier, judged by others of the same classes.

    python benchmarks/judges.py --root CUB_200_2011 --weights FILE --judge tf_efficientnet_lite0 --judge-weights FILE \\
        --methods mdm,hdm,gradcam --images 100 --output runs/judges

``--judge`` and ``--judge-weights`` can be given several times. The photographs are the first ones, in an order drawn by
the seed, for which all networks find the same class most probable; that class is explained. Measures, intervals (95 %,
over images) and corrected verdicts are those of ``protomask compare``; maps and values are kept in OUTPUT, so that the
command can be stopped, and methods and judges can be added.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from bad_input import exit_code
from subject import add_options, check_images, chosen_metrics, classifier, opened, print_contests
from tqdm import tqdm

import protomask
from protomask.backbones.classifier import BuiltClassifier
from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.localization.compare import JudgedClassifier
from protomask.localization.preprocessing import Preprocessing
from protomask.localizers import get_localizers, localizer_names
from protomask.run.setup import choose_device

METRICS = ("insertion", "deletion", "average_drop", "energy_box", "judge_insertion", "judge_deletion", "judge_kept")


def main(words: list[str] | None = None) -> int:
    options = parser().parse_args(words)
    return exit_code("judges.py", lambda: run(options))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(found, methods="mdm,gradcam", images=100, known=localizer_names(), required=True, help="its folder")
    found.add_argument(
        "--judge", required=True, action="append", metavar="MODEL", help="another classifier, named as --model"
    )
    found.add_argument("--judge-weights", action="append", metavar="FILE", help="its weights, in the same order")
    found.add_argument(
        "--metrics", default=",".join(METRICS), help=f"separated by commas, of the evaluation's ({','.join(METRICS)})"
    )
    found.add_argument("--seed", type=int, default=0, help="of the choice of images, and of the intervals")
    found.add_argument("--output", default="runs/judges", help="folder of maps and values (runs/judges)")
    return found


def run(options: argparse.Namespace) -> None:
    device = choose_device(options.device)
    check_images(options)
    methods, metrics = get_localizers(options.methods), chosen_metrics(options.metrics)
    files = options.judge_weights or [None] * len(options.judge)
    if len(files) != len(options.judge):
        raise InputError(f"{len(options.judge)} judges and {len(files)} files of weights; give one for each, or none")
    wanted, options.images = options.images, None
    built, data, order = opened(options, device, torch.Generator().manual_seed(options.seed))
    named = zip(options.judge, files)
    judges = [classifier(*each, "--judge", seed=place) for place, each in enumerate(named, 1)]  # the model has 0
    for judge in judges:
        judge.model.to(device)
    pairs = [JudgedClassifier(built.model, preparing(built), each.model, preparing(each)) for each in judges]
    agreed = data.subset(torch.tensor(agreeing(pairs, data, order.tolist(), wanted, device)))
    for name, judge in zip(options.judge, judges):
        print(f"\n{len(agreed)} of {wanted} photographs: {options.model} judged by {name}")
        found = protomask.compare(
            built.model,
            agreed,
            methods,
            judge=judge.model,
            judge_preprocessing=preparing(judge)._asdict(),
            mean=built.mean,
            std=built.std,
            image_size=built.image_size,
            metrics=metrics,
            seed=options.seed,
            batch_size=options.batch_size,
            device=device,
            cache=options.output,
            progress=True,
        )
        print_contests(found, methods)


def preparing(built: BuiltClassifier) -> Preprocessing:
    """How a classifier wants its images."""
    return Preprocessing(built.image_size, built.mean, built.std)


def agreeing(
    pairs: Sequence[JudgedClassifier], data: AnnotatedImages, order: list[int], wanted: int, device: torch.device
) -> list[int]:
    """The first ``wanted`` positions of ``order`` at which the network and all judges find the same class most
    probable."""
    found: list[int] = []
    with torch.no_grad(), tqdm(total=wanted, desc="agreed", unit="image") as bar:
        for place in order:
            if len(found) == wanted:
                break
            image = data[place]["image"].as_subclass(torch.Tensor)[None].to(device)
            own, *others = pairs[0].logits(image), *(each.judge.logits(each.judge_images(image)) for each in pairs)
            for other in others:
                if other.shape != own.shape:
                    raise InputError(
                        f"a judge has {other.shape[1]} classes and the model {own.shape[1]}; give one of the same"
                    )
            if all(own.argmax() == other.argmax() for other in others):
                found.append(place)
                bar.update()
    if not found:
        raise InputError("the networks agree on no photograph; give networks of the same classes")
    return found


if __name__ == "__main__":
    sys.exit(main())
