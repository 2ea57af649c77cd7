"""What the commands say on standard error: errors in the words of the command line, and what the library tells."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

LONGEST = 2000
"""characters of a message: whoever gives a number of 5,000 digits need not read it again"""


def one_line(error: Exception, options: Collection[str] = ()) -> str:
    """Give the message on one line, with the library's names of arguments as the command's options.

    >>> one_line(ValueError("image_size is 3; see output=x"), {"image_size", "output"})
    '--image-size is 3; see --output x'

    A localizer's settings, ``RISE: masks=0, batch_size=4; ...``, stay as they are.

    Args:
        error: speaks of arguments as ``name is ...`` at its start, or as ``name=``.
        options: names of the command's options, as Python writes them.
    """
    text = as_options(" ".join(str(error).split()), options)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def as_options(text: str, options: Collection[str]) -> str:
    """Write the library's names of arguments as a command's options, as :func:`one_line` does.

    >>> as_options("they have moved; give their folder by root=", {"root"})
    'they have moved; give their folder by --root'
    """

    def as_option(found: re.Match) -> str:
        if found["name"] not in options:
            return found[0]
        return " ".join(filter(None, ("--" + found["name"].replace("_", "-"), found["rest"])))

    text = re.sub(r"^(?P<name>\w+)(?P<rest>)(?= (?:is|are|names|needs|and|exclude|cannot|'))", as_option, text)
    text = re.sub(r"(?<= and )(?P<name>\w+)(?P<rest>)(?= exclude)", as_option, text)
    settings = re.match(r"\w+: \w+=[^;]*|", text)[0]  # type: ignore[index]
    # Not what belongs to a path (/lr=1/seed=3) or to a localizer's settings (rise:masks=10,batch_size=3).
    text = settings + re.sub(
        r"(?<![\w:,/\\-])(?P<name>\w+)=(?P<rest>[^\s;,)]*)", as_option, text.removeprefix(settings)
    )
    if "--intensity-range" in text:
        text = text.replace(" (low, high)", " LOW,HIGH")
    return re.sub(r"(?<=--intensity-range )\(([^\s,()]+), ([^\s,()]+)\)", r"\1,\2", text)


@contextmanager
def told(options: Collection[str] = ()) -> Iterator[None]:
    """Show what the library logs, on standard error, so that standard output stays data; its own warnings as lines.

    Both in the words of the command line, whose ``options`` are given as Python writes them.
    """
    written = warnings.formatwarning
    log, shown = logging.getLogger("protomask"), _Shown(options)
    level, propagate = log.level, log.propagate
    log.addHandler(shown)
    log.setLevel(logging.INFO)
    log.propagate = False

    def as_line(message, category, *where, **more) -> str:
        if category.__module__.partition(".")[0] == "protomask":
            return f"protomask: {one_line(message, options)}\n"
        return written(message, category, *where, **more)

    warnings.formatwarning = as_line
    try:
        yield
    finally:
        warnings.formatwarning = written
        log.removeHandler(shown)
        log.setLevel(level)
        log.propagate = propagate


class _Shown(logging.Handler):
    def __init__(self, options: Collection[str]) -> None:
        super().__init__()
        self._options = options

    def emit(self, record: logging.LogRecord) -> None:
        print(f"protomask: {as_options(record.getMessage(), self._options)}", file=sys.stderr, flush=True)
