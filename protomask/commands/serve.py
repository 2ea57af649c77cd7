"""``protomask serve``: the local page of a run or a plain classifier."""

from __future__ import annotations

import argparse

from protomask.commands.arguments import add_quiet
from protomask.errors import InputError

HELP = "a local page: explain new pictures, hide regions, judge prototypes"
DESCRIPTION = (
    "Serves a page on this machine about a run, or about any classifier of timm or torchvision (--model). Prints the "
    "page's address; Ctrl-C ends it."
)
EXAMPLE = "protomask serve runs/mine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this command."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder that protomask train wrote")
    model = parser.add_argument_group("classifier, instead of a run")
    model.add_argument("--model", metavar="NAME", help="timm model, or torchvision/NAME")
    model.add_argument("--weights", metavar="FILE", help="its weights: a .safetensors or weights-only .pth file")
    model.add_argument("--pretrained", action="store_true", help="download its pretrained weights from its hub")
    model.add_argument("--labels", metavar="FILE", help="names of its classes, one per line")
    model.add_argument("--image-size", type=int, metavar="N", help="side of its square input in pixels")
    model.add_argument("--multi-label", action="store_true", help="each class is a question of its own")
    page = parser.add_argument_group("page")
    page.add_argument("--localizer", metavar="NAME", help="what learns the masks; the run's own, or mdm, by default")
    page.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen there (127.0.0.1)")
    page.add_argument("--port", type=int, metavar="N", help="8765, or a free one where that is in use, by default")
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device", metavar="NAME", help="in place of the run's own; for --model auto, cpu, cuda, cuda:1, ..."
    )
    machine.add_argument("--root", metavar="DIR", help="the data set's folder, if it has moved")
    add_quiet(machine)


OF_MODEL = ("weights", "pretrained", "labels", "image_size", "multi_label")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; exit code 0."""
    if (arguments.run is None) == (arguments.model is None):
        raise InputError("give a run's folder, or --model NAME for a plain classifier")
    if arguments.run is not None:
        for name in OF_MODEL:
            if getattr(arguments, name):
                raise InputError(f"--{name.replace('_', '-')} is for --model; a run has its own")
    from protomask.serve.start import check_installed, serve

    check_installed()
    subject = _run(arguments) if arguments.run is not None else _classifier(arguments)
    serve(subject, host=arguments.host, port=arguments.port, say=lambda text: print(text, flush=True))
    return 0


def _run(arguments: argparse.Namespace):
    from protomask.commands.arguments import localizers
    from protomask.run.opened import open_run
    from protomask.serve.of_run import RunSubject

    chosen = localizers(arguments.localizer, "--localizer")
    opened = open_run(arguments.run, device=arguments.device, root=arguments.root, progress=False)
    return RunSubject(opened, chosen)


def _classifier(arguments: argparse.Namespace):
    from protomask.run.setup import choose_device, say
    from protomask.serve.of_classifier import open_classifier

    if not arguments.weights and not arguments.pretrained:
        say("note: the model has random weights; give --weights or --pretrained")
    return open_classifier(
        arguments.model,
        **{name: getattr(arguments, name) for name in OF_MODEL},
        localizer=arguments.localizer or "mdm",
        device=choose_device(arguments.device or "auto"),
    )
