"""What masks.py and others measure: a plain classifier, and the images that it is asked about."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import torch
from bad_input import check_counts
from methods import SCORES, Method, get_method
from torch import Tensor

from protomask.backbones.classifier import BuiltClassifier, build_classifier
from protomask.data import AnnotatedImages, load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError, did_you_mean
from protomask.evaluation import METRICS, Evaluation
from protomask.localizers import split_specs


def add_options(
    parser: argparse.ArgumentParser, *, images: int | None, methods: str | None, known: Iterable[str] = SCORES, **root
) -> None:
    """The options of these scripts.

    Args:
        images: None takes all.
        methods: None for a script without methods, and without a choice of the split.
        known: the methods that there are.
        root: how that option is declared.
    """
    parser.add_argument("--data", default="cub", help="data set with boxes (cub)")
    parser.add_argument("--root", **root)
    if methods is not None:
        parser.add_argument(
            "--split",
            choices=("train", "test"),
            default="test",
            help="settings are tuned on train, figures come from test",
        )
        parser.add_argument(
            "--methods",
            default=methods,
            help=f"separated by commas, settings after a colon (mdm:damping=1), of: {', '.join(known)}",
        )
    parser.add_argument(
        "--model",
        default="mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
        help="classifier of timm, or torchvision/NAME",
    )
    parser.add_argument("--weights", help="its weights: .safetensors or weights-only .pth")
    parser.add_argument("--image-size", type=int, help="side in pixels; the model's own by default")
    parser.add_argument(
        "--images",
        type=int,
        default=images,
        help=f"how many, chosen by the seed; fewer are the first of more ({'all' if images is None else images})",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images per call (8)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")


def chosen_methods(options: argparse.Namespace) -> dict[str, Method]:
    """By name. InputError: one is unknown, none is named, or the numbers of images are impossible."""
    check_images(options)
    methods = {name: get_method(name) for name in split_specs(options.methods)}
    if not methods:
        raise InputError(f"--methods {options.methods!r} names none; choose from {', '.join(SCORES)}")
    return methods


def check_images(options: argparse.Namespace) -> None:
    """InputError where numbers of images, or their size, are impossible."""
    check_counts(options, ("images", "batch_size", "image_size"))


def chosen_metrics(words: str) -> list[str]:
    """Names of metrics, separated by commas; InputError, before anything is computed: one is unknown, or none named."""
    names = [name.strip() for name in words.split(",") if name.strip()]
    for name in names:
        if name not in METRICS and name != "all":
            raise InputError(
                f"--metrics: {name!r} is unknown; choose from {', '.join(METRICS)}, or all{did_you_mean(name, METRICS)}"
            )
    if not names:
        raise InputError(f"--metrics {words!r} names none; choose from {', '.join(METRICS)}, or all")
    return names


def classifier(
    name: str, weights: str | None, option: str, *, image_size: int | None = None, seed: int = 0
) -> BuiltClassifier:
    """A classifier with weights of a file; without one it has random ones, the same in each process, which is said.

    Args:
        option: that named it.
        seed: of random weights.
    """
    if weights is not None:
        return build_classifier(name, weights=weights, image_size=image_size)
    built = build_classifier(name, image_size=image_size, seed=seed)
    print(f"note: {option} {name} has random weights; give its weights", file=sys.stderr)
    return built


def opened(
    options: argparse.Namespace, device: torch.device, generator: torch.Generator
) -> tuple[BuiltClassifier, AnnotatedImages, Tensor]:
    """The classifier, all images of the split, whole, and the positions of those that ``generator`` chooses."""
    built = classifier(options.model, options.weights, "--model", image_size=options.image_size)
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
