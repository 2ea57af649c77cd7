"""``protomask project``: pictures of all prototypes, localised by learned masks and by the similarity map."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import FORMATS, add_run, common, localizers

HELP = "pictures of all prototypes of a run"
DESCRIPTION = HELP
EXAMPLE = "protomask project runs/mine --localizer mdm,similarity --format pdf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--localizer",
        metavar="NAMES",
        help="localizers separated by commas, settings after a colon (mdm:damping=1); the run's own by default",
    )
    pictures.add_argument("--format", choices=FORMATS, default="png", help="of the galleries (png)")


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures; exit code 0."""
    from protomask import distributed
    from protomask.run.opened import open_run
    from protomask.run.pictures import write_pictures
    from protomask.run.setup import choose_device, say
    from protomask.run_folder import RunFolder

    chosen, files = localizers(arguments.localizer, "--localizer"), RunFolder.open(arguments.run)
    device = arguments.device or files.options().device
    with files.lock(), distributed.job(choose_device(device)) as own:  # before the network is loaded
        run = open_run(arguments.run, **common(arguments) | {"device": str(own)})
        pictures = write_pictures(run, chosen, arguments.format)
    say(f"pictures in {run.files / 'prototypes'}")
    say(pictures.text())
    return 0
