"""``protomask project``: pictures of all prototypes, localised by learned masks and by the similarity map."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import FORMATS, add_run, common, localizers

HELP = "pictures of all prototypes of a run"
DESCRIPTION = HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    parser.add_argument(
        "--localizer",
        metavar="NAMES",
        help="localizers separated by commas, settings after a colon (mdm:damping=1); the run's own by default",
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the galleries (png)")


def run(arguments: argparse.Namespace) -> int:
    """Do it; exit code 0."""
    from protomask.run.pictures import project_command
    from protomask.run_folder import RunFolder

    with RunFolder.open(arguments.run).lock():
        return project_command(
            arguments.run, localizers(arguments.localizer, "--localizer"), arguments.format, **common(arguments)
        )
