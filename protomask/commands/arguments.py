"""Arguments that several commands have, under the same words."""

from __future__ import annotations

import argparse

from protomask.errors import InputError

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


def split_names(words: str | None, option: str) -> list[str] | None:
    """Names separated by commas; None stays None.

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
    """The same words, once it is sure that they name a localizer; None stays None.

    Raises:
        InputError: they name none.
    """
    from protomask.localizers import split_specs

    if words is not None and not split_specs(words):
        raise InputError(f"{option} names no localizer; for example: {option} mdm,similarity")
    return words


def common(arguments: argparse.Namespace) -> dict:
    """What every command on a run hands on."""
    return {"device": arguments.device, "root": arguments.root, "progress": not arguments.quiet}
