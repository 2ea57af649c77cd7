"""Ctrl-C and SIGTERM during training: what was begun is finished and kept before they are obeyed."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """Holds back the first signal that asks this process to end; a second one is obeyed at once.

    >>> with HeldSignals() as held:
    ...     signal.raise_signal(signal.SIGTERM)   # this step goes on ...
    ...     held.pending == signal.SIGTERM        # ... and can be kept, before held.deliver() obeys
    True
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():  # others never get signals
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *failure) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, frame) -> None:
        if self.pending is not None:
            self.deliver()
        self.pending = number

    def deliver(self) -> None:
        """Hand the signal, if one came, to whoever would have had it, and hold nothing back any more."""
        number, self.pending = self.pending, None
        self.__exit__()
        if number is not None:
            signal.raise_signal(number)


@contextmanager
def interrupts_insist() -> Iterator[None]:
    """Raise a KeyboardInterrupt again that came where Python ignores exceptions: in a finaliser, or in the callback of
    a weak reference. Otherwise it is printed, and the work goes on as if nobody had asked it to end.
    """
    before = sys.unraisablehook

    def again(ignored) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            before(ignored)
            return
        # From another thread, and a moment later, so that it is not ignored here, too.
        timer = threading.Timer(0.01, _thread.interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def leave_signals_to_parent(worker: int | None = None) -> None:
    """Let a first Ctrl-C or SIGTERM, which the whole process group got, be the parent's matter, in a child that helps.

    The parent then ends the child in good order, or by a second signal. A parent that is killed is noticed by torch's
    loading processes on their own; others call :func:`end_with_parent`.
    """

    def once(number, frame):
        signal.signal(number, signal.SIG_DFL)
        # The parent may close the pipe while something is written to it: no traceback for that from here on.
        sys.excepthook = lambda *failure: None

    for number in SIGNALS:
        signal.signal(number, once)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Start children within this, so that no signal reaches them before they call :func:`leave_signals_to_parent`.

    They inherit the block, and lift it there; this process gets what came meanwhile at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Another thread may take the signal in spite of the block, so that it is held back here, too.
    with HeldSignals() as held:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if held.pending is not None:
        held.deliver()


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process within ``seconds`` of its parent's end, also by kill -9."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            waiting.wait(seconds)
        os._exit(1)

    waiting = threading.Event()
    threading.Thread(target=watch, daemon=True).start()
