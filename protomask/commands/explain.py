"""``protomask explain``: "this looks like that" for new images."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import FORMATS, add_images, add_run, common, localizers

HELP = "explain new images by a run's prototypes"
DESCRIPTION = HELP
EXAMPLE = "protomask explain runs/mine bird.jpg --output panels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_run(parser)
    add_images(parser)
    shown = parser.add_argument_group("explanation")
    shown.add_argument(
        "--localizer",
        metavar="NAMES",
        help="localizers separated by commas, settings after a colon (mdm:damping=1); the run's own by default",
    )
    shown.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="prototypes shown for each image; by default as many as carry 90 %% of those for its class, at most 5",
    )
    shown.add_argument(
        "--counter", type=int, default=1, metavar="N", help="prototypes shown that speak for the runner-up (1)"
    )
    files = parser.add_argument_group("output")
    files.add_argument("--output", metavar="DIR", help="folder of the panels; RUN/explanations by default")
    files.add_argument("--format", choices=FORMATS, default="png", help="of the panels (png)")
    files.add_argument(
        "--animate", action="store_true", help="also a GIF of the strongest prototype's mask as it is learned"
    )
    files.add_argument("--json", action="store_true", help="print JSON lines instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Print the reasoning and write one panel per image, or per image and predicted finding; exit code 0."""
    import json

    from protomask.given import as_path
    from protomask.inputs import name_pictures
    from protomask.run.explanation import check_images, explain_each, require_mask_growth, save_mask_growth
    from protomask.run.opened import open_run
    from protomask.run.results import NameGiver, save_panel
    from protomask.run.setup import say
    from protomask.run_folder import RunFolder, alone_in

    chosen, files = localizers(arguments.localizer, "--localizer"), RunFolder.open(arguments.run)
    images = name_pictures(arguments.images)
    check_images(images, files.options().levels())  # before the network is loaded
    target = files / "explanations" if arguments.output is None else as_path(arguments.output, "output")
    with alone_in(target, sweep=arguments.output is None):  # another folder may be anybody's
        run = open_run(arguments.run, **common(arguments))
        if arguments.animate:
            require_mask_growth(run, chosen)  # before the first panel is drawn
        names = NameGiver(target)
        for explanation, batch in explain_each(
            run, images, localizer=chosen, top=arguments.top, counter=arguments.counter
        ):
            name = names.name(explanation)
            panel = target / f"{name}.{arguments.format}"
            if arguments.json:
                print(json.dumps({**explanation.to_json(), "panel": str(panel)}), flush=True)
            else:
                print(f"{explanation.text()}\n  panel: {panel}", flush=True)
            save_panel(explanation, panel)
            if arguments.animate:
                save_mask_growth(run, explanation, batch, target / f"{name}.gif", chosen)
    say(f"panels in {target}")
    return 0
