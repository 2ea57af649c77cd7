"""``protomask import-official``: a run out of a network that somebody else trained."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_machine, bars

HELP = "a run from a ProtoPNet that others trained"
DESCRIPTION = (
    "Reads a file of cfchen-duke/ProtoPNet (state dict or whole model) or CaBRNet's model_state.pth, without running "
    "any code in it, measures it on your data and writes a run, on which project, explain, evaluate and report work."
)
EXAMPLE = "protomask import-official FILE.pth --data cub --root CUB_200_2011 --output runs/official"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    parser.add_argument("file", metavar="FILE", help=".pth, .pt or .safetensors")
    parser.add_argument_group("output").add_argument(
        "--output", metavar="RUN", required=True, help="run folder to write"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="NAME", default="cub", help="data set that it was trained on (cub)")
    data.add_argument("--root", metavar="DIR", help="folder of the data set")
    data.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="crop images to their boxes; cub does by default",
    )
    data.add_argument(
        "--classes", metavar="FILE", help="names of its classes in its order, one a line; the data's order by default"
    )
    network = parser.add_argument_group("network")
    network.add_argument(
        "--backbone", metavar="NAME", help="resnet34, vgg19, densenet121, ...; told from the tensors by default"
    )
    network.add_argument(
        "--image-size", type=int, metavar="N", help="side of the input in pixels; the file's own by default, or 224"
    )
    network.add_argument(
        "--prototype-classes",
        metavar="FILE",
        help=(
            "numbers (from 0) of each prototype's class, or the official prune_info.npy; needed only for a pruned "
            "model that does not tell"
        ),
    )
    network.add_argument(
        "--model-config", metavar="FILE", help="CaBRNet's model_arch.yml; the one beside FILE by default"
    )
    network.add_argument("--project", action="store_true", help="move every prototype onto its nearest training patch")
    machine = add_machine(parser)
    machine.add_argument("--batch-size", type=int, metavar="N", help="images at a time")
    machine.add_argument("--workers", type=int, metavar="N", help="processes that load images")


def run(arguments: argparse.Namespace) -> int:
    """Write the run; exit code 0."""
    from protomask.run.importing import import_official

    own = ("data", "root", "crop", "backbone", "image_size", "classes", "prototype_classes", "model_config", "project")
    machine = ("batch_size", "workers", "device")
    words = {name: getattr(arguments, name) for name in own + machine}
    import_official(arguments.file, arguments.output, **words, progress=bars(arguments))
    return 0
