"""``protomask report``: one self-contained page of everything a run knows."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import FORMATS, add_run, common

HELP = "write a run's report.html again"
DESCRIPTION = HELP
EXAMPLE = "protomask report runs/mine --figures pdf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    page = parser.add_argument_group("page")
    page.add_argument("--quality", type=int, default=82, metavar="N", help="of its photographs (WebP), 1 to 100 (82)")
    page.add_argument(
        "--explained",
        type=int,
        default=8,
        metavar="N",
        help="test images that it explains, up to half of them wrong ones, more only where too few are right (8)",
    )
    page.add_argument("--figures", choices=FORMATS, help="also write its figures one by one, into RUN/figures")


def run(arguments: argparse.Namespace) -> int:
    """Write the page; exit code 0."""
    from protomask import distributed
    from protomask.run.opened import open_run
    from protomask.run.page import report_run
    from protomask.run.setup import choose_device
    from protomask.run_folder import RunFolder

    files = RunFolder.open(arguments.run)
    device = arguments.device or files.options().device
    with files.lock(), distributed.job(choose_device(device)) as own:  # before the network is loaded
        report_run(
            open_run(arguments.run, **common(arguments) | {"device": str(own)}),
            quality=arguments.quality,
            explained=arguments.explained,
            figures=arguments.figures,
        )
    return 0
