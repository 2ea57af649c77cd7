"""What other packages register by their entry points: found by its name, loaded, and called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

from protomask.errors import InputError


def find_registered(
    points: Iterable[EntryPoint], name: str, what: str, built_in: str | None = None
) -> EntryPoint | None:
    """Find the one entry point of a name; of other names nothing is asked.

    Args:
        points: of one group.
        what: it is, as errors call it: ``"network"``.
        built_in: the value of the entry point that the name would have in this package, where the name is taken.

    Returns:
        None where no package registers the name, or what it registers is what is built in.

    Raises:
        InputError: several packages register it, or one a name that is built in; names them.
    """
    # A package may be found twice: installed to be edited, and by the egg-info in its folder.
    named = {origin_of(point): point for point in points if point.name == name and point.value != built_in}
    listed = " and ".join(sorted(named))
    if named and built_in is not None:
        raise InputError(
            f"{what} {name!r} is built into protomask, and {listed} registers another; uninstall that package, or "
            "give its own another name"
        )
    if len(named) > 1:
        raise InputError(
            f"{what} {name!r} is registered by {listed}; uninstall all but one of them, or give theirs other names"
        )
    return next(iter(named.values()), None)


def origin_of(point: EntryPoint) -> str:
    """Name the package of an entry point, where that is known, and what it points at: ``"birds (birds.data:load)"``."""
    return point.value if point.dist is None else f"{point.dist.name} ({point.value})"


def load_registered(point: EntryPoint, what: str, make: Callable[[Any], Any] = lambda found: found) -> Any:
    """Load an entry point.

    Args:
        what: it is, as errors call it: ``"network"``.
        make: makes of what was found what is wanted.

    Raises:
        InputError: it cannot be loaded, for whatever reason.
    """
    try:
        return make(point.load())
    except (Exception, SystemExit) as error:  # a package may end Python when it is imported, for want of a licence
        raise InputError(
            f"{what} {point.name!r} ({point.value}) cannot be loaded: {_reason(error)}; "
            "mend or uninstall the package that registers it"
        ) from error


@contextmanager
def told_in_one_line(what: str, mend: str = "mend the package that registers it") -> Iterator[None]:
    """Turn an error in what another package registers into one line, with the cause behind it.

    What protomask itself raises stays as it is (bad input; that a job was cancelled, or lost one of its processes), and
    so does a lack of memory, for which callers may have a mend.

    Args:
        what: is called, as errors call it: ``"localizer 'gradient'"``.
        mend: the end of the message.

    Raises:
        InputError: names ``what`` and the error.
    """
    from torch import OutOfMemoryError  # not at the top: commands answer before torch is imported

    try:
        yield
    except (InputError, OutOfMemoryError):
        raise
    except Exception as error:
        if is_ours(type(error)):
            raise
        raise InputError(f"{what} fails: {_reason(error)}; {mend}") from error


def is_ours(kind: object) -> bool:
    """Tell whether a class or function is of protomask itself."""
    return str(getattr(kind, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
