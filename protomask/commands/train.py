"""``protomask train``: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_options, add_quiet, bars, chosen_options

HELP = "train, project, localise, evaluate, report"
DESCRIPTION = (
    "The whole job. Without options: ProtoPNet on the embedded data set, localised by MDM, evaluated against the "
    "upsampled map."
)
EXAMPLE = "protomask train --data folder --root PICTURES --backbone resnet34 --pretrained --output runs/mine"
INTERRUPTED = "go on with --resume and the same --output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command: one for each of :class:`protomask.options.Options`, and a few of its own."""
    parser.add_argument("--output", metavar="RUN", help="run folder; by default a new one under runs/")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    add_quiet(parser)
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard, into OUTPUT/tensorboard")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on; exit code 0."""
    options = chosen_options(arguments)

    from protomask.run.training import train_run

    train_run(
        options,
        arguments.output,
        resume=arguments.resume,
        progress=bars(arguments),
        tensorboard=arguments.tensorboard,
    )
    return 0
