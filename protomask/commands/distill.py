"""``protomask distill``: a small network that draws the masks of a run's prototypes in one pass."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common

HELP = "train a network that draws a run's masks in one pass"
DESCRIPTION = (
    "Trains a small explainer network through the run's network by the objective of a learned mask, from some of its "
    "maps. It is then called distilled among the localizers of this run (explain, evaluate, project, report); "
    "distilled:steps=5 refines its maps. The same command goes on where it was stopped."
)
EXAMPLE = "protomask distill runs/mine --steps 600"
INTERRUPTED = "the same command goes on"
NUMBERS = {
    "steps": (int, "steps of the objective through the network (600)"),
    "maps": (int, "maps of the teacher that it begins with (256)"),
    "imitation": (int, "steps in which it imitates them (400)"),
    "batch-size": (int, "pairs in each step (8)"),
    "rate": (float, "greatest learning rate (0.003)"),
    "seed": (int, "the run's own by default"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    explainer = parser.add_argument_group("explainer")
    explainer.add_argument(
        "--teacher", metavar="NAME", help="mdm, with settings after a colon (mdm:damping=1); by default mdm"
    )
    for name, (kind, text) in NUMBERS.items():
        explainer.add_argument(f"--{name}", type=kind, metavar="N" if kind is int else "X", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Train the explainer; exit code 0."""
    from protomask import distributed
    from protomask.run.distilling import distill_run
    from protomask.run.opened import open_run
    from protomask.run.setup import choose_device
    from protomask.run_folder import RunFolder

    names = ["teacher", *(name.replace("-", "_") for name in NUMBERS)]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    files = RunFolder.open(arguments.run)
    device = arguments.device or files.options().device
    with files.lock(), distributed.job(choose_device(device)) as own:  # before the network is loaded
        distill_run(open_run(arguments.run, **common(arguments) | {"device": str(own)}), **given)
    return 0
