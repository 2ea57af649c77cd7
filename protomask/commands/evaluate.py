"""``protomask evaluate``: localizers x metrics on a run's images, one table with confidence intervals."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common, localizers

HELP = "measure localizers on a run's images"
DESCRIPTION = HELP
INTERRUPTED = "the same command goes on where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    parser.add_argument(
        "--localizers",
        metavar="NAMES",
        help=(
            "separated by commas, settings after a colon (mdm:damping=1); by default the run's own, similarity, center, "
            "random; oracle: what the truth of parts draws"
        ),
    )
    parser.add_argument(
        "--metrics", metavar="NAMES", help="separated by commas, or all; by default the usual ones that the data allow"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="images; the run's own number by default")
    parser.add_argument(
        "--on",
        choices=("test", "sources"),
        default="test",
        help="test images (test), or the training images that the prototypes were projected to (sources)",
    )
    parser.add_argument("--per-class", action="store_true", help="also the means of each class")
    parser.add_argument("--seed", type=int, metavar="N", help="of the choice of images; the run's own by default")


def run(arguments: argparse.Namespace) -> int:
    """Do it; exit code 0."""
    from protomask.run.evaluation import evaluate_command
    from protomask.run_folder import RunFolder

    with RunFolder.open(arguments.run).lock():
        return evaluate_command(
            arguments.run,
            localizers(arguments.localizers, "--localizers"),
            arguments.metrics,
            arguments.samples,
            arguments.on,
            arguments.per_class,
            arguments.seed,
            **common(arguments),
        )
