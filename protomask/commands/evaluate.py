"""``protomask evaluate``: localizers x metrics on a run's images, one table with confidence intervals."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common, localizers

HELP = "measure localizers on a run's images"
DESCRIPTION = HELP
EXAMPLE = "protomask evaluate runs/mine --localizers mdm,similarity,gradcam --samples 200"
PRINTED = 30
"""classes whose means are printed; those of more are in the file only"""
INTERRUPTED = "the same command goes on where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    measured = parser.add_argument_group("evaluation")
    measured.add_argument(
        "--localizers",
        metavar="NAMES",
        help=(
            "separated by commas, settings after a colon (mdm:damping=1); by default the run's own, similarity, "
            "center, random; oracle: what the truth of parts draws"
        ),
    )
    measured.add_argument(
        "--metrics", metavar="NAMES", help="separated by commas, or all; by default the usual ones that the data allow"
    )
    measured.add_argument("--samples", type=int, metavar="N", help="images; the run's own number by default")
    measured.add_argument(
        "--on",
        choices=("test", "sources"),
        default="test",
        help="test images (test), or the training images that the prototypes were projected to (sources)",
    )
    measured.add_argument("--per-class", action="store_true", help="also the means of each class")
    measured.add_argument("--seed", type=int, metavar="N", help="of the choice of images; the run's own by default")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table; exit code 0."""
    from protomask import distributed
    from protomask.evaluation.tables import class_table
    from protomask.run.evaluation import STEMS, evaluate_run
    from protomask.run.opened import open_run
    from protomask.run.setup import choose_device, say
    from protomask.run_folder import RunFolder

    chosen, files = localizers(arguments.localizers, "--localizers"), RunFolder.open(arguments.run)
    device = arguments.device or files.options().device
    with files.lock(), distributed.job(choose_device(device)) as own:  # before the network is loaded
        run = open_run(arguments.run, **common(arguments) | {"device": str(own)})
        evaluation = evaluate_run(
            run,
            chosen,
            metrics=arguments.metrics,
            samples=arguments.samples,
            on=arguments.on,
            per_class=arguments.per_class,
            seed=arguments.seed,
        )
        if not distributed.is_first():
            return 0
    print(evaluation.table())
    if len(evaluation.localizers) > 1:
        print("\n" + evaluation.contest(*evaluation.localizers[:2]))
    count = len(set(evaluation.classes)) if arguments.per_class else 0
    if count > PRINTED:
        say(f"the means of the {count} classes are in {files / (STEMS[arguments.on] + '_classes.csv')}")
    elif arguments.per_class:
        for metric in next(iter(evaluation.values.values())):
            print(f"\n{class_table(evaluation, metric)}")
    return 0
