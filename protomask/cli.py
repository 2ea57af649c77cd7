"""The commands. Heavy imports wait until a command runs, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from protomask.errors import InputError, PeerLost
from protomask.options import CHOICES, Options

WRITING = ("project", "evaluate", "report")
"""Commands that write into an existing run, which therefore is theirs alone meanwhile"""


class _Parser(argparse.ArgumentParser):
    """Wrong words are one line on standard error and exit code 2, as every bad input."""

    def error(self, message: str):
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="protomask", description="Train prototype networks, see where their prototypes look, and measure it."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    train = commands.add_parser(
        "train",
        help="train, project, localise, evaluate, report",
        description=(
            "The whole job. Without options: ProtoPNet on the embedded data set, localised by MDM, evaluated against the upsampled map."
        ),
    )
    _add_train_options(train)

    project = commands.add_parser("project", help="pictures of all prototypes of a run")
    _add_run(project)
    project.add_argument(
        "--localizer", metavar="NAMES", help="localizers separated by commas; the run's own by default"
    )
    project.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="of the galleries (png)")

    explain = commands.add_parser("explain", help="explain new images by a run's prototypes")
    _add_run(explain)
    explain.add_argument("images", nargs="+", metavar="IMAGE")
    explain.add_argument(
        "--localizer", metavar="NAMES", help="localizers separated by commas; the run's own by default"
    )
    explain.add_argument("--output", metavar="DIR", help="folder of the panels; RUN/explanations by default")
    explain.add_argument("--top", type=int, default=3, metavar="N", help="prototypes shown for each image (3)")
    explain.add_argument(
        "--counter", type=int, default=1, metavar="N", help="prototypes shown that speak for the runner-up (1)"
    )
    explain.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="of the panels (png)")
    explain.add_argument(
        "--animate", action="store_true", help="also a GIF of the strongest prototype's mask as it is learned"
    )
    explain.add_argument("--json", action="store_true", help="print JSON lines instead of text")

    evaluate = commands.add_parser("evaluate", help="measure localizers on a run's images")
    _add_run(evaluate)
    evaluate.add_argument(
        "--localizers",
        metavar="NAMES",
        help=(
            "separated by commas; by default the run's own, similarity, center, random; oracle: what the truth of parts draws"
        ),
    )
    evaluate.add_argument(
        "--metrics", metavar="NAMES", help="separated by commas, or all; by default the usual ones that the data allow"
    )
    evaluate.add_argument("--samples", type=int, metavar="N", help="images; the run's own number by default")
    evaluate.add_argument(
        "--on",
        choices=("test", "sources"),
        default="test",
        help="test images (test), or the training images that the prototypes were projected to (sources)",
    )
    evaluate.add_argument("--per-class", action="store_true", help="also the means of each class")
    evaluate.add_argument("--seed", type=int, metavar="N", help="of the choice of images; the run's own by default")

    prune = commands.add_parser(
        "prune",
        help="a run without some of its prototypes",
        description=(
            "Removes prototypes, re-fits the last layer, says what it cost in accuracy, and writes all into a new run."
        ),
    )
    _add_run(prune)
    prune.add_argument(
        "--prototypes", metavar="NUMBERS", help="numbers separated by commas; the flagged ones by default"
    )
    prune.add_argument(
        "--flagged", metavar="KINDS", help="background, duplicate, or both separated by a comma; both by default"
    )
    prune.add_argument("--output", metavar="NEWRUN", help="folder of the new run; RUN-pruned by default")

    check = commands.add_parser(
        "check",
        help="find everything that is wrong with a data set",
        description=(
            "Reads all annotations and decodes every image and mask; prints one line for each problem, with its file and line. "
            "Exit code 2 where there is one."
        ),
    )
    check.add_argument("data", metavar="DATA", help="data set: cub, busi, folder, ... as --data of protomask train")
    check.add_argument("--root", metavar="DIR", help="folder of the data set")
    check.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="as for protomask train; cub needs boxes to crop",
    )
    check.add_argument("--workers", type=int, metavar="N", help="threads that decode; all processors by default")
    check.add_argument("--quiet", action="store_true", help="no progress bar")

    _add_import_options(
        commands.add_parser(
            "import-official",
            help="a run from a ProtoPNet that others trained",
            description=(
                "Reads a file of cfchen-duke/ProtoPNet (state dict or whole model) or CaBRNet's model_state.pth, without running any code in it, "
                "measures it on your data and writes a run, on which project, explain, evaluate and report work."
            ),
        )
    )
    _add_localize(
        commands.add_parser(
            "localize",
            help="where a plain classifier looks in pictures",
            description=(
                "Maps of the most probable class, or of --index, for any classifier of timm or torchvision. The same command goes on "
                "where it was stopped."
            ),
        )
    )

    report = commands.add_parser("report", help="write a run's report.html again")
    _add_run(report)
    report.add_argument("--quality", type=int, default=82, metavar="N", help="of its photographs (WebP), 1 to 100 (82)")
    report.add_argument(
        "--explained",
        type=int,
        default=8,
        metavar="N",
        help="test images that it explains, up to half of them wrong ones (8)",
    )
    report.add_argument(
        "--figures", choices=("png", "pdf", "svg"), help="also write its figures one by one, into RUN/figures"
    )
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder that protomask train wrote")
    parser.add_argument("--device", help="in place of the run's own")
    parser.add_argument("--root", metavar="DIR", help="the data set's folder, if it has moved")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _add_import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".pth, .pt or .safetensors")
    parser.add_argument("--output", metavar="RUN", required=True, help="run folder to write")
    parser.add_argument("--data", metavar="WORD", default="cub", help="data set that it was trained on (cub)")
    parser.add_argument("--root", metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="crop images to their boxes; cub does by default",
    )
    parser.add_argument(
        "--backbone", metavar="WORD", help="resnet34, vgg19, densenet121, ...; told from the tensors by default"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="side of the input in pixels; the file's own by default, or 224"
    )
    parser.add_argument(
        "--classes", metavar="FILE", help="names of its classes in its order, one a line; the data's order by default"
    )
    parser.add_argument(
        "--prototype-classes",
        metavar="FILE",
        help=(
            "numbers (from 0) of each prototype's class, or the official prune_info.npy; needed only for a pruned model that does not tell"
        ),
    )
    parser.add_argument(
        "--model-config", metavar="FILE", help="CaBRNet's model_arch.yml; the one beside FILE by default"
    )
    parser.add_argument("--project", action="store_true", help="move every prototype onto its nearest training patch")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that load images")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _add_localize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files, or folders of pictures")
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="timm model, or torchvision/NAME; arguments follow a colon: mobilenetv2_100:pad_type=same,mean=0.5,std=0.5",
    )
    parser.add_argument("--weights", metavar="FILE", help="its weights: a .safetensors or weights-only .pth file")
    parser.add_argument(
        "--pretrained", action="store_true", help="download the model's pretrained weights from its hub"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="side of the square input in pixels; the model's own by default"
    )
    parser.add_argument(
        "--index",
        metavar="CLASS",
        help="class number, or name in --labels; several by commas; the most probable by default",
    )
    parser.add_argument(
        "--top", type=int, default=1, metavar="N", help="without --index: the N most probable classes (1)"
    )
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one per line")
    parser.add_argument("--localizer", default="mdm", metavar="NAMES", help="localizers separated by commas (mdm)")
    parser.add_argument(
        "--score",
        default="log-probability",
        metavar="KIND",
        help="what of the class is explained: log-probability, probability or logit (log-probability)",
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="each class is a question of its own: sigmoid instead of softmax"
    )
    parser.add_argument(
        "--output", default="localized", metavar="DIR", help="folder of overlays, maps and JSON (localized)"
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures localised together (8)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _check(arguments: argparse.Namespace) -> int:
    from protomask.commands.check import check_command

    return check_command(
        arguments.data, arguments.root, arguments.crop, arguments.workers, progress=not arguments.quiet
    )


def _import_official(arguments: argparse.Namespace) -> int:
    from protomask.commands.import_official import import_command

    words = vars(arguments)
    own = {name: words[name] for name in ("backbone", "classes", "prototype_classes", "model_config", "project")}
    options = Options(
        data=arguments.data,
        root=arguments.root,
        crop=arguments.crop,
        image_size=arguments.image_size,
        device=arguments.device,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        validation=0.0,
        similarity="l2-log",
        recipe="official",
    )
    return import_command(arguments.file, options, arguments.output, **own, progress=not arguments.quiet)


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="RUN", help="run folder; by default a new one under runs/")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="options from a JSON file, for example a run's config.json; the command line goes before it",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard, into OUTPUT/tensorboard")
    for field in dataclasses.fields(Options):
        name = "--" + field.name.replace("_", "-")
        text = field.metadata["help"]
        kind = field.type.split(" ")[0]
        if field.default is not None and kind != "bool":
            text += f" ({field.default})"
        if kind == "bool":
            parser.add_argument(name, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(
                name,
                dest=field.name,
                type={"str": str, "int": int, "float": float}[kind],
                default=None,
                choices=CHOICES.get(field.name),
                metavar=None if field.name in CHOICES else _metavar(kind),
                help=text,
            )


def _metavar(kind: str) -> str:
    return {"str": "WORD", "int": "N", "float": "X"}[kind]


def _train(arguments: argparse.Namespace) -> int:
    from protomask.run_folder import read_options

    given = {
        field.name: getattr(arguments, field.name)
        for field in dataclasses.fields(Options)
        if getattr(arguments, field.name) is not None
    }
    options = read_options(arguments.config).replace(**given) if arguments.config else Options(**given)

    from protomask.commands.train import train_command

    return train_command(
        options, arguments.output, arguments.resume, progress=not arguments.quiet, tensorboard=arguments.tensorboard
    )


def _localize(arguments: argparse.Namespace) -> int:
    from protomask.commands.localize import LocalizeOptions, localize_command

    options = LocalizeOptions(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(LocalizeOptions)}
    )
    return localize_command(options, progress=not arguments.quiet)


def _run(arguments: argparse.Namespace) -> int:
    from protomask.run_folder import RunFolder

    with RunFolder.open(arguments.run).lock() if arguments.command in WRITING else nullcontext():
        return _run_command(arguments)


def _run_command(arguments: argparse.Namespace) -> int:
    common = {"device": arguments.device, "root": arguments.root, "progress": not arguments.quiet}
    if arguments.command == "project":
        from protomask.commands.project import project_command

        return project_command(arguments.run, arguments.localizer, arguments.format, **common)
    if arguments.command == "explain":
        from protomask.commands.explain import explain_command

        return explain_command(
            arguments.run,
            arguments.images,
            arguments.localizer,
            arguments.output,
            arguments.top,
            arguments.counter,
            arguments.format,
            arguments.animate,
            arguments.json,
            **common,
        )
    if arguments.command == "evaluate":
        from protomask.commands.evaluate import evaluate_command

        return evaluate_command(
            arguments.run,
            arguments.localizers,
            arguments.metrics,
            arguments.samples,
            arguments.on,
            arguments.per_class,
            arguments.seed,
            **common,
        )
    if arguments.command == "prune":
        from protomask.commands.prune import prune_command

        return prune_command(arguments.run, arguments.prototypes, arguments.flagged, arguments.output, **common)
    from protomask.commands.report import report_command

    return report_command(arguments.run, arguments.quality, arguments.explained, arguments.figures, **common)


def _one_line(error: InputError) -> str:
    text = str(error)
    if text.startswith("Caught "):  # from a loading process: torch puts that process's whole traceback in front
        text = text.strip().splitlines()[-1].split("InputError: ", 1)[-1]
    return " ".join(text.split())


def _terminate(number, frame):
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 another process of the job ended, 2 bad input (one line on standard error), 130
    interrupted."""
    arguments, before = None, signal.getsignal(signal.SIGTERM)
    try:
        parser = build_parser()
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.print_help()
            return 0
        signal.signal(signal.SIGTERM, _terminate)
        own = {"train": _train, "check": _check, "import-official": _import_official, "localize": _localize}
        return own.get(arguments.command, _run)(arguments)
    except InputError as error:
        print(f"protomask: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except PeerLost as error:
        print(f"protomask: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that may not be read, a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        print(f"protomask: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        mend = {
            "train": "; go on with --resume and the same --output",
            "localize": "; the same command goes on",
            "evaluate": "; the same command goes on where it was",
        }.get(getattr(arguments, "command", None), "")
        print(f"protomask: interrupted{mend}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
