"""``protomask explain``: "this looks like that" for new images."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import FORMATS, add_run, common, localizers

HELP = "explain new images by a run's prototypes"
DESCRIPTION = HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--localizer",
        metavar="NAMES",
        help="localizers separated by commas, settings after a colon (mdm:damping=1); the run's own by default",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the panels; RUN/explanations by default")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="prototypes shown for each image (3)")
    parser.add_argument(
        "--counter", type=int, default=1, metavar="N", help="prototypes shown that speak for the runner-up (1)"
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the panels (png)")
    parser.add_argument(
        "--animate", action="store_true", help="also a GIF of the strongest prototype's mask as it is learned"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Do it; exit code 0."""
    from protomask.run.explanation import explain_command

    return explain_command(
        arguments.run,
        arguments.images,
        localizers(arguments.localizer, "--localizer"),
        arguments.output,
        arguments.top,
        arguments.counter,
        arguments.format,
        arguments.animate,
        arguments.json,
        **common(arguments),
    )
