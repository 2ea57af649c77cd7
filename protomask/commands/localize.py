"""``protomask localize``: where in pictures a plain classifier finds its classes."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_classifier, add_images, add_intensity_range, add_machine, bars

HELP = "where a plain classifier looks in pictures"
DESCRIPTION = (
    "Maps of the most probable class, or of --index, for any classifier of timm or torchvision. The same command goes "
    "on where it was stopped."
)
EXAMPLE = "protomask localize --model resnet50 --pretrained --localizer mdm,gradcam --output maps PICTURES"
INTERRUPTED = "the same command goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    add_images(parser)
    add_classifier(parser)
    maps = parser.add_argument_group("maps")
    maps.add_argument(
        "--index",
        metavar="CLASS",
        help="class number, or name in --labels; several by commas; the most probable by default",
    )
    maps.add_argument(
        "--top", type=int, default=1, metavar="N", help="in place of --index: the N most probable classes (1)"
    )
    maps.add_argument("--labels", metavar="FILE", help="names of the classes, one per line")
    maps.add_argument(
        "--localizer",
        default="mdm",
        metavar="NAMES",
        help="localizers separated by commas, settings after a colon (mdm:damping=1); by default mdm",
    )
    maps.add_argument(
        "--score",
        default="log-probability",
        metavar="KIND",
        help="what of the class is explained: log-probability, probability or logit (log-probability)",
    )
    files = parser.add_argument_group("input and output")
    add_intensity_range(files)
    files.add_argument(
        "--output", default="localized", metavar="DIR", help="folder of overlays, maps and JSON (localized)"
    )
    machine = add_machine(parser)
    machine.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures localised together (8)")


def run(arguments: argparse.Namespace) -> int:
    """Localise the pictures; exit code 0."""
    import dataclasses

    from protomask.commands.arguments import localizers
    from protomask.localization.folder import LocalizeOptions, localize_command
    from protomask.options import parse_range

    localizers(arguments.localizer, "--localizer")

    options = LocalizeOptions(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(LocalizeOptions)}
    )
    if arguments.intensity_range is not None:
        options = dataclasses.replace(options, intensity_range=parse_range(arguments.intensity_range))
    return localize_command(options, progress=bars(arguments))
