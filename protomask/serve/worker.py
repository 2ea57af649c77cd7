"""One thread that does all the computing, and a queue that says where each job stands."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from protomask.errors import InputError

AT_ONCE, LATER = 0, 1
"""What answers at once goes before masks that are learned, also in the middle of them."""
MOST_WAITING = 40

Event = dict[str, Any]


class Cancelled(Exception):
    """Nobody waits for the answer any more, or the server stops."""


class Busy(Exception):
    """So many jobs are waiting that no further one is taken."""


class Job:
    """One piece of work, and whom to tell.

    Args:
        work: called in the worker's thread with the job; raises InputError for what the user can mend.
        tell: called in the worker's thread with each event; the last one is ``{"end": True}``.
        priority: ``AT_ONCE`` or ``LATER``.
    """

    def __init__(self, work: Callable[[Job], None], tell: Callable[[Event], None], priority: int = AT_ONCE) -> None:
        self.work, self.tell, self.priority = work, tell, priority
        self._next: Callable[[Job], None] | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Give up: nobody wants the answer any more, and the job ends at its next :meth:`check`."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise Cancelled where the job is cancelled."""
        if self.cancelled:
            raise Cancelled

    def go_on_later(self, work: Callable[[Job], None]) -> None:
        """Queue up again, behind all that answers at once, and do ``work`` then."""
        self._next = work


class Worker:
    """Run jobs one after the other; a context manager, on whose end everything stops."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self.most_waiting = most_waiting
        self._jobs: list[Job] = []
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="protomask worker", daemon=True)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            for job in (*self._jobs, *([self._running] if self._running else [])):
                job.cancel()
            self._jobs.clear()
            self._changed.notify_all()
        self._thread.join(timeout=30)

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            Busy: too many wait.
        """
        with self._changed:
            self._jobs = [each for each in self._jobs if not each.cancelled]
            if self._stopped or len(self._jobs) >= self.most_waiting:
                raise Busy
            self._queue(job)

    def answer_urgent(self) -> None:
        """Do what answers at once, between two steps of a longer job; called in the worker's thread."""
        while job := self._take(most=AT_ONCE):
            self._run(job)

    def _queue(self, job: Job) -> None:
        place = next((at for at, each in enumerate(self._jobs) if each.priority > job.priority), len(self._jobs))
        self._jobs.insert(place, job)
        self._tell_places()
        self._changed.notify_all()

    def _tell_places(self) -> None:
        ahead = 1 if self._running is not None else 0
        for place, job in enumerate(self._jobs):
            job.tell({"waiting": place + ahead})

    def _take(self, most: int = LATER, wait: bool = False) -> Job | None:
        with self._changed:
            while True:
                self._jobs = [each for each in self._jobs if not each.cancelled]
                if self._jobs and self._jobs[0].priority <= most:
                    job = self._jobs.pop(0)
                    self._tell_places()
                    return job
                if self._stopped or not wait:
                    return None
                self._changed.wait()

    def _work(self) -> None:
        while job := self._take(wait=True):
            self._running = job
            self._run(job)
            self._running = None

    def _run(self, job: Job) -> None:
        work, job._next = job._next or job.work, None
        try:
            job.check()
            work(job)
            job.check()
        except Cancelled:
            job._next = None
        except InputError as error:
            job.tell({"error": " ".join(str(error).split())})
        except Exception as error:  # a fault of ours: whoever waits must not wait for ever
            traceback.print_exc()
            job.tell({"error": f"something went wrong here ({type(error).__name__}); the terminal says more"})
        with self._changed:
            if job._next is not None and not self._stopped:
                job.priority = LATER
                self._queue(job)
                return
        job.tell({"end": True})
