"""``protomask prune``: a run without some of its prototypes, and what that cost in accuracy."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common

HELP = "a run without some of its prototypes"
DESCRIPTION = (
    "Removes prototypes, re-fits the last layer, says what it cost in accuracy, and writes all into a new run."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    parser.add_argument(
        "--prototypes", metavar="NUMBERS", help="numbers separated by commas; the flagged ones by default"
    )
    parser.add_argument(
        "--flagged", metavar="KINDS", help="background, duplicate, or both separated by a comma; both by default"
    )
    parser.add_argument("--output", metavar="NEWRUN", help="folder of the new run; RUN-pruned by default")


def run(arguments: argparse.Namespace) -> int:
    """Do it; exit code 0."""
    from protomask.run.pruning import prune_command

    return prune_command(arguments.run, arguments.prototypes, arguments.flagged, arguments.output, **common(arguments))
