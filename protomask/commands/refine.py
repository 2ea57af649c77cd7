"""``protomask refine``: a run that learns what people marked, and what that cost."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common

HELP = "a run that forgets the prototypes marked in a review"
DESCRIPTION = (
    "Replaces the prototypes that a review forgets by patches that it allows, keeps all others as they are, re-fits "
    "the last layer, compares before and after, and writes all into a new run."
)
EXAMPLE = "protomask refine runs/mine --output runs/refined"
INTERRUPTED = "nothing is left of it: give the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    refinement = parser.add_argument_group("refinement")
    refinement.add_argument(
        "--review",
        action="append",
        metavar="FILE",
        help="judgements as pages and reports save them, several times for several people; RUN/review.json by default",
    )
    refinement.add_argument("--epochs", type=int, metavar="N", help="in which the network settles (3)")
    refinement.add_argument(
        "--features",
        action="store_true",
        help="the features learn, too; without it what the review does not change stays exactly as it is",
    )
    refinement.add_argument("--output", metavar="NEWRUN", help="folder of the new run; RUN-refined by default")


def run(arguments: argparse.Namespace) -> int:
    """Write the new run; exit code 0."""
    from protomask.run.opened import open_run

    opened = open_run(arguments.run, **common(arguments))
    opened.refine(arguments.review, output=arguments.output, epochs=arguments.epochs, features=arguments.features)
    return 0
