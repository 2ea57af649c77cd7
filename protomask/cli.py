"""The commands. Heavy imports wait until a command runs, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from protomask.commands.messages import one_line, told
from protomask.errors import InputError, PeerLost, did_you_mean
from protomask.interruption import interrupts_insist
from protomask.launched import launched

COMMANDS = (
    "train",
    "project",
    "explain",
    "evaluate",
    "audit",
    "prune",
    "refine",
    "distill",
    "check",
    "import-official",
    "localize",
    "compare",
    "report",
    "serve",
)
"""each is a module of :mod:`protomask.commands`"""
TOGETHER = ("train", "project", "evaluate", "distill", "localize", "report")
"""those whose work several processes share; each process would do all of any other's"""


def _refuse_empty(arguments: argparse.Namespace) -> None:
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise InputError(f"--{name.replace('_', '-')} (or a word) is empty; give a value, or leave it out")


class _Parser(argparse.ArgumentParser):
    """Wrong words are one line on standard error and exit code 2, as every bad input."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        # Values such as -1000,400 are numbers, too, and no options.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str):
        raise InputError(f"{message}; see {self.prog} --help")


class _Help(argparse.HelpFormatter):
    """Keep the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return text
        return super()._fill_text(text, width, indent)


class _Version(argparse.Action):
    """Print the version; asked for only then, since looking it up takes as long as all other options together."""

    def __call__(self, parser, namespace, values, option_string=None):
        from protomask import __version__

        print(f"protomask {__version__}")
        parser.exit()


def _refuse_unknown_command(words: Sequence[str]) -> None:
    name = next(iter(words), "-")
    if not name.startswith("-") and name not in COMMANDS:
        mend = did_you_mean(name, COMMANDS) or f"; there are: {', '.join(COMMANDS)}"
        raise InputError(f"there is no command {name!r}{mend}")


def _refuse_unknown_option(arguments: argparse.Namespace, unknown: Sequence[str]) -> None:
    if unknown:
        name = unknown[0].split("=")[0]
        known = ["--" + each.replace("_", "-") for each in arguments.options]
        mend = (did_you_mean(name, known) if name.startswith("--") else "") or ";"
        what = "no option" if name.startswith("-") else "no place for"
        raise InputError(f"{arguments.command} has {what} {name}{mend} see protomask {arguments.command} --help")


def _refuse_several_processes(name: str) -> None:
    if name not in TOGETHER and launched().size > 1:
        raise InputError(
            f"{name} works in one process, and torchrun started {launched().size} (WORLD_SIZE); start it without "
            f"torchrun ({', '.join(TOGETHER[:-1])} and {TOGETHER[-1]} share their work)"
        )


def find_command(name: str) -> ModuleType:
    """Import a command: ``HELP``, ``DESCRIPTION``, ``EXAMPLE``, ``add_arguments(parser)``, ``run(arguments)``."""
    return import_module("protomask.commands." + name.replace("-", "_"))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        prog="protomask", description="Train prototype networks, see where their prototypes look, and measure it."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        module = find_command(name)
        example = f"example:\n  {module.EXAMPLE}" if hasattr(module, "EXAMPLE") else None
        words = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, epilog=example, formatter_class=_Help
        )
        module.add_arguments(words)
        words.set_defaults(options={each.dest for each in words._actions if each.option_strings})
    return parser


def _terminate(number, frame):
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 another process of the job ended, 2 bad input (one line on
    standard error), 130 interrupted."""
    module, arguments, options, before = None, None, (), signal.getsignal(signal.SIGTERM)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        parser = build_parser()
        _refuse_unknown_command(sys.argv[1:] if argv is None else argv)
        arguments, unknown = parser.parse_known_args(argv)
        if arguments.command is None:
            if unknown:
                raise InputError(f"there is no option {unknown[0]}; see protomask --help")
            parser.print_help()
            return 0
        _refuse_unknown_option(arguments, unknown)
        _refuse_empty(arguments)
        _refuse_several_processes(arguments.command)
        signal.signal(signal.SIGTERM, _terminate)
        module, options = find_command(arguments.command), arguments.options
        with told(options), interrupts_insist():
            return module.run(arguments)
    except InputError as error:
        print(f"protomask: error: {one_line(error, options)}", file=sys.stderr)
        return 2
    except PeerLost as error:
        print(f"protomask: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that may not be read, a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        print(f"protomask: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        eval("0")  # Python ends by the signal, not with the code below, where the last eval or exec was interrupted
        told_by = getattr(module, "interrupted", None)
        mend = told_by(arguments) if told_by else getattr(module, "INTERRUPTED", None)
        print(f"protomask: interrupted{f'; {mend}' if mend else ''}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
