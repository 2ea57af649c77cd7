"""``protomask check``: what is wrong with a data set, and with a training on it, all of it, in one pass."""

from __future__ import annotations

import argparse
import time

from protomask.commands.arguments import add_config, add_options, add_quiet, bars, chosen_options
from protomask.errors import InputError

HELP = "find everything that a training would refuse"
DESCRIPTION = (
    "Reads all annotations, decodes every image and mask, and builds the network; prints one line for each problem, "
    "with its file and line. With the options of protomask train, whatever that training would refuse. Exit code 2 "
    "where there is a problem."
)
EXAMPLE = "protomask check folder --root PICTURES --backbone resnet34"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command: those of protomask train, and one of its own."""
    parser.add_argument("data", metavar="NAME", help="data set: cub, busi, folder, ... as --data of protomask train")
    own = parser.add_argument_group("check")
    own.add_argument("--output", metavar="RUN", help="run folder of the training that is meant")
    own.add_argument("--threads", type=int, metavar="N", help="threads that decode; all processors by default")
    add_config(own)
    add_quiet(own)
    add_options(parser, without=["data"])


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each problem.

    Raises:
        InputError: there are problems; the message is their number.
    """
    from protomask.commands.messages import one_line
    from protomask.run.checking import check_training
    from protomask.run.setup import say

    if arguments.threads is not None and arguments.threads < 1:
        raise InputError(f"threads is {arguments.threads}; check with at least 1 thread")
    options, begin = chosen_options(arguments), time.perf_counter()
    found = check_training(options, arguments.output, threads=arguments.threads, progress=bars(arguments))
    for problem in found.problems:
        line = one_line(InputError(problem), arguments.options)
        print(line.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)
    what, number = options.root or f"data set {options.data!r}", len(found.problems)
    if number:
        raise InputError(
            f"{what}: {number} problem{'s' * (number > 1)}, {found.images} images decoded; mend them and check again"
        )
    say(f"protomask: {what}: no problem; {found.images} images decoded in {time.perf_counter() - begin:.1f} s")
    return 0
