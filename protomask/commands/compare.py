"""``protomask compare``: localizers of a plain classifier against each other."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import (
    add_classifier,
    add_images,
    add_intensity_range,
    add_machine,
    bars,
    localizers,
    split_names,
)
from protomask.errors import InputError

HELP = "measure localizers of a plain classifier against each other"
DESCRIPTION = (
    "Insertion, deletion, drop, increase and gain of several localizers on the same pictures, with intervals and "
    "verdicts; with --judge also on a second network of the same classes."
)
EXAMPLE = "protomask compare --model resnet50 --pretrained --localizers mdm,gradcam --output compared PICTURES"
INTERRUPTED = "the same command goes on where it was, if --output is given"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_images(parser)
    add_classifier(parser)
    judge = parser.add_argument_group("judge")
    judge.add_argument("--judge", metavar="NAME", help="a second model of the same classes that judges the maps")
    judge.add_argument("--judge-weights", metavar="FILE", help="its weights")
    compared = parser.add_argument_group("comparison")
    compared.add_argument(
        "--localizers",
        default="mdm,gradcam,center,random",
        metavar="NAMES",
        help="separated by commas, settings after a colon (mdm,gradcam,center,random)",
    )
    compared.add_argument("--metrics", metavar="NAMES", help="separated by commas, or all; by default the usual ones")
    compared.add_argument(
        "--index", type=int, metavar="N", help="class to explain; the most probable of each by default"
    )
    compared.add_argument("--seed", type=int, default=0, metavar="N", help="of the intervals (0)")
    files = parser.add_argument_group("input and output")
    add_intensity_range(files)
    files.add_argument("--output", metavar="DIR", help="folder for compare.json and for maps, so that it can go on")
    machine = add_machine(parser)
    machine.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures localised together (8)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table; exit code 0."""
    from pathlib import Path

    from protomask.backbones.classifier import build_classifier
    from protomask.devices import choose_device
    from protomask.localization.compare import DEFAULT, compare
    from protomask.localization.photographs import open_photographs
    from protomask.options import parse_range
    from protomask.run.setup import say

    if arguments.judge_weights and not arguments.judge:
        raise InputError("--judge-weights is for --judge; name the second model, too")
    names, metrics = localizers(arguments.localizers, "--localizers"), split_names(arguments.metrics, "--metrics")
    levels = None if arguments.intensity_range is None else parse_range(arguments.intensity_range)
    pictures = open_photographs(arguments.images, levels)  # before any weights are loaded
    device = choose_device(arguments.device)
    built = build_classifier(
        arguments.model,
        pretrained=arguments.pretrained,
        weights=arguments.weights,
        image_size=arguments.image_size,
        seed=0,
    )
    judge = None
    if not arguments.pretrained:
        for option, name, weights in (
            ("--model", arguments.model, arguments.weights),
            ("--judge", arguments.judge, arguments.judge_weights),
        ):
            if name and not weights:
                say(f"note: {option} {name} has random weights; give its weights, or --pretrained")
    if arguments.judge:
        judge = build_classifier(
            arguments.judge, pretrained=arguments.pretrained, weights=arguments.judge_weights, seed=1
        )
        judge.model.to(device)
    built.model.to(device)
    output = None if arguments.output is None else Path(arguments.output)
    found = compare(
        built.model,
        pictures,
        names or DEFAULT,
        index=arguments.index,
        metrics=metrics,
        judge=None if judge is None else judge.model,
        judge_preprocessing=None if judge is None else {"mean": judge.mean, "std": judge.std, "size": judge.image_size},
        mean=built.mean,
        std=built.std,
        image_size=built.image_size,
        multi_label=arguments.multi_label,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        cache=None if output is None else output / "maps",
        progress=bars(arguments),
    )
    print(found.table())
    for other in found.localizers[1:]:
        print("\n" + found.contest(found.localizers[0], other))
    if output is not None:
        found.save(output / "compare.json")
    return 0
