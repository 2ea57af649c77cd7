"""``protomask audit``: what a run's pictures can be trusted for, as one table, one page and one verdict."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_run, common, localizers

HELP = "say what a run's pictures can be trusted for"
DESCRIPTION = (
    "Save the test images as JPEG, add noise that nobody sees, shift them a little, ask about another prototype and "
    "shuffle the network's weights: what should leave the pictures where they are, and does what should move them?"
)
EXAMPLE = "protomask audit runs/mine --samples 100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    audit = parser.add_argument_group("audit")
    audit.add_argument("--localizer", metavar="NAME", help="whose pictures; the run's own by default")
    audit.add_argument("--samples", type=int, default=50, metavar="N", help="test images (50)")
    audit.add_argument("--seed", type=int, metavar="N", help="of the choice of images; the run's own by default")


def run(arguments: argparse.Namespace) -> int:
    """Audit, and print the table and the verdict; exit code 0."""
    from protomask.run.audit import audit_run
    from protomask.run.opened import open_run
    from protomask.run.setup import say
    from protomask.run_folder import RunFolder

    chosen, files = localizers(arguments.localizer, "--localizer"), RunFolder.open(arguments.run)
    with files.lock():
        opened = open_run(arguments.run, **common(arguments))
        found = audit_run(opened, chosen, samples=arguments.samples, seed=arguments.seed)
    print(f"{found.table()}\n\n{found.verdict}")
    say(f"the page is {files / 'audit.html'}")
    return 0
