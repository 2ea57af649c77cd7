"""``protomask train``: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import argparse
import dataclasses

from protomask.commands.arguments import add_quiet
from protomask.options import CHOICES, Options

HELP = "train, project, localise, evaluate, report"
DESCRIPTION = (
    "The whole job. Without options: ProtoPNet on the embedded data set, localised by MDM, evaluated against the "
    "upsampled map."
)
INTERRUPTED = "go on with --resume and the same --output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command: one for each of :class:`protomask.options.Options`, and a few of its own."""
    parser.add_argument("--output", metavar="RUN", help="run folder; by default a new one under runs/")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="options from a JSON file, for example a run's config.json; the command line goes before it",
    )
    add_quiet(parser)
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard, into OUTPUT/tensorboard")
    for field in dataclasses.fields(Options):
        name = "--" + field.name.replace("_", "-")
        text = field.metadata["help"]
        kind = field.type.split(" ")[0]
        if field.default is not None and kind != "bool":
            text += f" ({field.default})"
        if kind == "bool":
            parser.add_argument(name, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(
                name,
                dest=field.name,
                type={"str": str, "int": int, "float": float}[kind],
                default=None,
                choices=CHOICES.get(field.name),
                metavar=None if field.name in CHOICES else _metavar(kind),
                help=text,
            )


def _metavar(kind: str) -> str:
    return {"str": "WORD", "int": "N", "float": "X"}[kind]


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on; exit code 0."""
    from protomask.run_folder import read_options

    given = {
        field.name: getattr(arguments, field.name)
        for field in dataclasses.fields(Options)
        if getattr(arguments, field.name) is not None
    }
    options = read_options(arguments.config).replace(**given) if arguments.config else Options(**given)

    from protomask.run.training import train_run

    train_run(
        options,
        arguments.output,
        resume=arguments.resume,
        progress=not arguments.quiet,
        tensorboard=arguments.tensorboard,
    )
    return 0
