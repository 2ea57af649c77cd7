"""Arguments that several commands have, under the same words."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Collection

from protomask.errors import InputError
from protomask.options import CHOICES, GROUPS, METAVARS, Options

FORMATS = ("png", "pdf", "svg")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and what every command on a run knows."""
    parser.add_argument("run", metavar="RUN", help="folder that protomask train wrote")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...; the run's own by default")
    machine.add_argument("--root", metavar="DIR", help="the data set's folder, if it has moved")
    add_quiet(machine)


def add_quiet(parser: argparse._ActionsContainer) -> None:
    """Add --quiet."""
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bars; where there is no terminal there are none anyway"
    )


def bars(arguments: argparse.Namespace) -> bool:
    """Tell whether progress bars are shown: on a terminal alone, since they garble a log, and not with --quiet."""
    return not arguments.quiet and sys.stderr.isatty()


def add_classifier(parser: argparse.ArgumentParser) -> None:
    """Add --model and what belongs to it."""
    model = parser.add_argument_group("classifier")
    model.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="timm model, or torchvision/NAME; arguments follow a colon: "
        "mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
    )
    model.add_argument("--weights", metavar="FILE", help="its weights: a .safetensors or weights-only .pth file")
    model.add_argument("--pretrained", action="store_true", help="download the model's pretrained weights from its hub")
    model.add_argument(
        "--image-size", type=int, metavar="N", help="side of the square input in pixels; the model's own by default"
    )
    model.add_argument(
        "--multi-label", action="store_true", help="each class is a question of its own: sigmoid instead of softmax"
    )


def add_config(parser: argparse._ActionsContainer) -> None:
    """Add --config."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="options from a JSON or YAML file, for example a run's config.json; the command line goes before it",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the pictures that a command works on."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, or folders of pictures")


def add_machine(parser: argparse.ArgumentParser) -> argparse._ActionsContainer:
    """Add --device and --quiet; give their group."""
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ... (auto)")
    add_quiet(machine)
    return machine


def add_intensity_range(parser: argparse._ActionsContainer) -> None:
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
    return {"device": arguments.device, "root": arguments.root, "progress": bars(arguments)}


def add_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add a word for each of :class:`protomask.options.Options`; None where it is not given."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for field in dataclasses.fields(Options):
        if field.name in without:
            continue
        group = next(groups[title] for title, names in GROUPS.items() if field.name in names)
        text, kind = field.metadata["help"], str(field.type).split(" ")[0]
        if field.default is not None and kind != "bool":
            text += f" ({field.default})"
        name = "--" + field.name.replace("_", "-")
        if kind == "bool":
            group.add_argument(name, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            group.add_argument(
                name,
                dest=field.name,
                type={"str": str, "int": int, "float": float}[kind],
                default=None,
                choices=CHOICES.get(field.name),
                metavar=None
                if field.name in CHOICES
                else METAVARS.get(field.name, {"str": "WORD", "int": "N", "float": "X"}[kind]),
                help=text,
            )


def chosen_options(arguments: argparse.Namespace) -> Options:
    """Give the options of :func:`add_options`: those of the file, and before them those of the command line.

    Raises:
        InputError: the file is none, or an option is wrong.
    """
    from protomask.run_folder import read_options

    given = said_options(arguments)
    return read_options(arguments.config).replace(**given) if arguments.config else Options(**given)


def said_options(arguments: argparse.Namespace) -> dict:
    """Give the options of :func:`add_options` that the command line says, with their values."""
    names = [field.name for field in dataclasses.fields(Options)]
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
