"""``protomask prune``: a run without some of its prototypes, and what that cost in accuracy."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common
from protomask.errors import InputError

HELP = "a run without some of its prototypes"
DESCRIPTION = (
    "Removes prototypes, re-fits the last layer, says what it cost in accuracy, and writes all into a new run."
)
EXAMPLE = "protomask prune runs/mine --flagged background,duplicate --output runs/pruned"
INTERRUPTED = "nothing is left of it: give the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    chosen = parser.add_argument_group("prototypes that are removed")
    chosen.add_argument(
        "--prototypes", metavar="NUMBERS", help="numbers separated by commas; the flagged ones by default"
    )
    chosen.add_argument(
        "--flagged", metavar="KINDS", help="of background, duplicate and common, separated by commas; all by default"
    )
    parser.add_argument_group("output").add_argument(
        "--output", metavar="NEWRUN", help="folder of the new run; RUN-pruned by default"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the new run; exit code 0."""
    from protomask.run.opened import open_run
    from protomask.run.pruning import check_choice

    numbers = None if arguments.prototypes is None else _numbers(arguments.prototypes)
    check_choice(numbers, arguments.flagged)  # before the network is loaded
    open_run(arguments.run, **common(arguments)).prune(numbers, flagged=arguments.flagged, output=arguments.output)
    return 0


def _numbers(words: str) -> list[int]:
    numbers = [word.strip() for word in words.split(",") if word.strip()]
    if not numbers or not all(word.removeprefix("-").isdecimal() and len(word) < 20 for word in numbers):
        raise InputError(
            f"--prototypes is {words[:80]!r}; give numbers of prototypes separated by commas, for example 3,7"
        )
    return [int(word) for word in numbers]
