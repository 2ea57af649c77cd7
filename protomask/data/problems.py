"""Going on after a mistake: a reader stops at the first one, ``protomask check`` wants them all.

Readers put ``with noted():`` around what can fail on its own: a line of a file, an image, a folder. Inside
:func:`collecting` the error is written down and the next line is read; everywhere else it is raised as ever.

What earlier versions read is refused of new data alone: a run that learned it must open (:func:`for_a_run`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from protomask.errors import InputError
from protomask.meanwhile import meanwhile

_found: ContextVar[list[str] | None] = ContextVar("problems", default=None)
_for_a_run: ContextVar[bool] = ContextVar("data are opened for a run that exists", default=False)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Yield the list to which :func:`noted` adds the messages of this thread, in order."""
    found: list[str] = []
    with meanwhile(_found, found):
        yield found


def opened_for_a_run() -> AbstractContextManager[None]:
    """Open data of a run that exists: see :func:`for_a_run`."""
    return meanwhile(_for_a_run, True)


def for_a_run() -> bool:
    """Tell whether data are opened for a run that exists, so that what it was begun with is at most a remark."""
    return _for_a_run.get()


class noted:
    """A block whose :class:`InputError` is noted and left behind; raised where nobody collects."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        found = _found.get()
        if found is None or not isinstance(error, InputError):
            return False
        found.append(" ".join(str(error).split()))
        return True
