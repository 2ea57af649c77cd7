"""What masks.py and steadiness.py measure: a plain classifier, and the images that it is asked about."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable

import torch
from methods import SCORES, Method, get_method
from torch import Tensor

from protomask.backbones.classifier import BuiltClassifier, build_classifier
from protomask.data import AnnotatedImages, load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation import Evaluation
from protomask.localizers import split_specs


def add_options(parser: argparse.ArgumentParser, *, methods: str, images: int, **root) -> None:
    """The options of both scripts; ``root``: how that one is declared."""
    parser.add_argument("--data", default="cub", help="data set with boxes (cub)")
    parser.add_argument("--root", **root)
    parser.add_argument(
        "--split", choices=("train", "test"), default="test", help="settings are tuned on train, figures come from test"
    )
    parser.add_argument(
        "--model",
        default="mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
        help="classifier of timm, or torchvision/NAME",
    )
    parser.add_argument("--weights", help="its weights: .safetensors or weights-only .pth")
    parser.add_argument("--image-size", type=int, help="side in pixels; the model's own by default")
    parser.add_argument(
        "--methods",
        default=methods,
        help=f"separated by commas, settings after a colon (mdm:damping=1), of: {', '.join(SCORES)}",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=images,
        help=f"how many, chosen by the seed; fewer are the first of more ({images})",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images per call (8)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")


def chosen_methods(options: argparse.Namespace) -> dict[str, Method]:
    """By name. InputError: one is unknown, none is named, or the numbers of images are impossible."""
    methods = {name: get_method(name) for name in split_specs(options.methods)}
    if not methods:
        raise InputError(f"--methods {options.methods!r} names none; choose from {', '.join(SCORES)}")
    if options.images < 1 or options.batch_size < 1:
        raise InputError(f"--images is {options.images} and --batch-size {options.batch_size}; give at least 1")
    return methods


def opened(
    options: argparse.Namespace, device: torch.device, generator: torch.Generator
) -> tuple[BuiltClassifier, AnnotatedImages, Tensor]:
    """The classifier, all images of the split, whole, and the positions of those that ``generator`` chooses."""
    built = build_classifier(options.model, weights=options.weights, image_size=options.image_size)
    built.model.to(device, memory_format=torch.channels_last)
    data = load_data(options.data, options.root, crop=False, validation=0, image_size=built.image_size)
    data = getattr(data, options.split).with_transform(evaluation_transform(built.image_size, built.mean, built.std))
    return built, data, torch.randperm(len(data), generator=generator)[: options.images]


def print_contests(found: Evaluation, methods: Iterable[str]) -> None:
    """The means, and MDM and HDM against every other method."""
    print(found.table())
    names = list(methods)
    for method in names:
        for other in names:
            if method in ("mdm", "hdm") and other != method:
                print(f"\n{found.contest(method, other)}")


def exit_code(name: str, work: Callable[[], None]) -> int:
    """0, or 2 and one line on standard error where the input is bad."""
    try:
        work()
    except InputError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    return 0
