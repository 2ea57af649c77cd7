"""``protomask check``: what is wrong with a data set, all of it, in one pass."""

from __future__ import annotations

import argparse
import time

from protomask.errors import InputError

HELP = "find everything that is wrong with a data set"
DESCRIPTION = (
    "Reads all annotations and decodes every image and mask; prints one line for each problem, with its file and line. "
    "Exit code 2 where there is one."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    parser.add_argument("data", metavar="DATA", help="data set: cub, busi, folder, ... as --data of protomask train")
    parser.add_argument("--root", metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="as for protomask train; cub needs boxes to crop",
    )
    parser.add_argument("--intensity-range", metavar="LOW,HIGH", help="as for protomask train")
    parser.add_argument("--workers", type=int, metavar="N", help="threads that decode; all processors by default")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each problem.

    Raises:
        InputError: there are problems; the message is their number.
    """
    from protomask.data.checking import check_data
    from protomask.options import parse_range
    from protomask.run.setup import DATA_DEFAULTS, say

    data, root, workers = arguments.data, arguments.root, arguments.workers
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; check with at least 1 thread")
    levels = None if arguments.intensity_range is None else parse_range(arguments.intensity_range)
    begin = time.perf_counter()
    size = DATA_DEFAULTS.get(data, {}).get("image_size")
    problems, images = check_data(
        data,
        root,
        crop=arguments.crop,
        image_size=size,
        intensity_range=levels,
        workers=workers,
        progress=not arguments.quiet,
    )
    for problem in problems:
        print(problem.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)
    what = f"{root}" if root else f"data set {data!r}"
    if problems:
        raise InputError(
            f"{what}: {len(problems)} problem{'s' * (len(problems) > 1)}, {images} images decoded; "
            "mend them and check again"
        )
    say(f"protomask: {what}: no problem; {images} images decoded in {time.perf_counter() - begin:.1f} s")
    return 0
