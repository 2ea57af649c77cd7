"""``protomask check``: what is wrong with a data set, and with a training on it, all of it, in one pass."""

from __future__ import annotations

import argparse
import time

from protomask.commands.arguments import add_config, add_options, add_quiet, bars, chosen_options, said_options
from protomask.errors import InputError
from protomask.options import Options

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
    from protomask.run.checking import check_training
    from protomask.run.setup import say

    if arguments.threads is not None and arguments.threads < 1:
        raise InputError(f"threads is {arguments.threads}; check with at least 1 thread")
    begin, problems = time.perf_counter(), _take_out_wrong(arguments)
    for problem in problems:
        _print_problem(problem, arguments)
    options = chosen_options(arguments)
    found = check_training(options, arguments.output, threads=arguments.threads, progress=bars(arguments))
    for problem in found.problems:
        _print_problem(problem, arguments)
    what, number = options.root or f"data set {options.data!r}", len(problems) + len(found.problems)
    if number:
        raise InputError(
            f"{what}: {number} problem{'s' * (number > 1)}, {found.images} images decoded; mend them and check again"
        )
    say(f"protomask: {what}: no problem; {found.images} images decoded in {time.perf_counter() - begin:.1f} s")
    return 0


def _take_out_wrong(arguments: argparse.Namespace) -> list[str]:
    """Take the options with a wrong value out of the words, so that all else is checked; give what is wrong."""
    problems = []
    for name, value in said_options(arguments).items():
        try:
            Options(**{name: value})
        except InputError as error:
            problems.append(str(error))
            setattr(arguments, name, None)
    return problems


def _print_problem(problem: str, arguments: argparse.Namespace) -> None:
    from protomask.commands.messages import one_line

    # A training can be resumed, which the check has no word for.
    line = one_line(InputError(problem), {*arguments.options, "resume"})
    print(line.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)
