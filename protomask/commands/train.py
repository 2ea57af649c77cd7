"""``protomask train``: data, network, stages, pictures, evaluation, report."""

from __future__ import annotations

import argparse
from pathlib import Path

from protomask.commands.arguments import add_config, add_options, add_quiet, bars, chosen_options, said_options
from protomask.errors import InputError
from protomask.options import Options

HELP = "train, project, localise, evaluate, report"
DESCRIPTION = (
    "The whole job. Without options: ProtoPNet on the embedded data set, localised by MDM, evaluated against the "
    "upsampled map."
)
EXAMPLE = "protomask train --data folder --root PICTURES --backbone resnet34 --pretrained --output runs/mine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command: one for each of :class:`protomask.options.Options`, and a few of its own."""
    own = parser.add_argument_group("run")
    own.add_argument("--output", metavar="RUN", help="run folder; by default a new one under runs/")
    own.add_argument("--resume", action="store_true", help="go on with the run in --output")
    own.add_argument(
        "--seeds",
        metavar="N,N,...",
        help="the same training from several seeds, one run each in OUTPUT/seed-N, and a table of means and ranges",
    )
    own.add_argument(
        "--log",
        metavar="NAMES",
        help="also log for tensorboard, wandb or mlflow, by their own packages; several separated by commas. A resumed "
        "run goes on with the records that it has",
    )
    add_config(own)
    add_quiet(own)
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on; exit code 0."""
    options = chosen_options(arguments)
    if arguments.seeds is not None:
        return _train_seeds(options, arguments)

    from protomask.run.training import train_run

    train_run(
        options,
        arguments.output,
        said=said_options(arguments),
        resume=arguments.resume,
        progress=bars(arguments),
        log=arguments.log,
    )
    return 0


def interrupted(arguments: argparse.Namespace) -> str:
    """Say how to go on; nothing can be resumed before a run's folder has its options."""
    if arguments.output is None:
        return "if the run folder named above is there, go on with --resume and --output that folder"
    begun = "config.json" if arguments.seeds is None else "seed-*/config.json"
    if any(Path(arguments.output).glob(begun)):
        return "go on with --resume and the same --output" + ("" if arguments.seeds is None else " and --seeds")
    again = ", without --resume" if arguments.resume else ""
    return f"nothing was begun yet that could be resumed: give the same command again{again}"


def _train_seeds(options: Options, arguments: argparse.Namespace) -> int:
    try:
        seeds = [int(word) for word in arguments.seeds.split(",")]
    except ValueError:
        raise InputError(f"--seeds is {arguments.seeds!r}; give whole numbers separated by commas: 0,1,2") from None
    if arguments.seed is not None:
        raise InputError("--seed and --seeds are both given; give one of them")
    if arguments.output is None:
        raise InputError("--seeds needs --output, the folder of the runs")

    from protomask import distributed
    from protomask.run.seeds import train_all

    found = train_all(
        options,
        seeds,
        arguments.output,
        said=said_options(arguments),
        resume=arguments.resume,
        progress=bars(arguments),
        log=arguments.log,
    )
    if distributed.is_first():
        print(found.table())
    return 0
