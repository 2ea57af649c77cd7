"""Arguments that several commands have, under the same words."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection

from protomask.errors import InputError
from protomask.options import CHOICES, Options

FORMATS = ("png", "pdf", "svg")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and what every command on a run knows."""
    parser.add_argument("run", metavar="RUN", help="folder that protomask train wrote")
    parser.add_argument("--device", help="in place of the run's own")
    parser.add_argument("--root", metavar="DIR", help="the data set's folder, if it has moved")
    add_quiet(parser)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def add_classifier(parser: argparse.ArgumentParser) -> None:
    """Add --model and what belongs to it."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="timm model, or torchvision/NAME; arguments follow a colon: "
        "mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
    )
    parser.add_argument("--weights", metavar="FILE", help="its weights: a .safetensors or weights-only .pth file")
    parser.add_argument(
        "--pretrained", action="store_true", help="download the model's pretrained weights from its hub"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="side of the square input in pixels; the model's own by default"
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="each class is a question of its own: sigmoid instead of softmax"
    )


def add_intensity_range(parser: argparse.ArgumentParser) -> None:
    """Add --intensity-range."""
    parser.add_argument(
        "--intensity-range",
        metavar="LOW,HIGH",
        help="values of grey pictures of more than 8 bits (16-bit PNG and TIFF, DICOM) that become black and white",
    )


def split_names(words: str | None, option: str) -> list[str] | None:
    """Split names separated by commas; None stays None.

    Raises:
        InputError: there is no name.
    """
    if words is None:
        return None
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise InputError(f"{option} names nothing; give names separated by commas")
    return names


def localizers(words: str | None, option: str) -> str | None:
    """Give the same words, once it is sure that they name a localizer; None stays None.

    Raises:
        InputError: they name none.
    """
    from protomask.localizers import split_specs

    if words is not None and not split_specs(words):
        raise InputError(f"{option} names no localizer; for example: {option} mdm,similarity")
    return words


def common(arguments: argparse.Namespace) -> dict:
    """Tell what every command on a run hands on."""
    return {"device": arguments.device, "root": arguments.root, "progress": not arguments.quiet}


def add_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add --config, and a word for each of :class:`protomask.options.Options`; None where it is not given."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="options from a JSON file, for example a run's config.json; the command line goes before it",
    )
    for field in dataclasses.fields(Options):
        if field.name in without:
            continue
        text, kind = field.metadata["help"], str(field.type).split(" ")[0]
        if field.default is not None and kind != "bool":
            text += f" ({field.default})"
        name = "--" + field.name.replace("_", "-")
        if kind == "bool":
            parser.add_argument(name, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(
                name,
                dest=field.name,
                type={"str": str, "int": int, "float": float}[kind],
                default=None,
                choices=CHOICES.get(field.name),
                metavar=None if field.name in CHOICES else {"str": "WORD", "int": "N", "float": "X"}[kind],
                help=text,
            )


def chosen_options(arguments: argparse.Namespace) -> Options:
    """Give the options of :func:`add_options`: those of the file, and before them those of the command line.

    Raises:
        InputError: the file is none, or an option is wrong.
    """
    from protomask.run_folder import read_options

    names = [field.name for field in dataclasses.fields(Options)]
    given = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    return read_options(arguments.config).replace(**given) if arguments.config else Options(**given)
