"""The addresses of teaching: refine by the marks, follow it, stop it, compare, and serve another version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from protomask.capabilities import ComparesPatches
from protomask.errors import InputError
from protomask.run.forbids import read_forbids
from protomask.run.lessons import Lessons, check_possible, find_lessons
from protomask.run.review import Review
from protomask.serve.of_run import RunSubject
from protomask.serve.received import Refused
from protomask.serve.refining import BUSY, Refining, State
from protomask.serve.versions import Versions
from protomask.serve.worker import LATER

if TYPE_CHECKING:
    from protomask.serve.app import Service

SECONDS = 0.2
"""between two looks at how far it is"""


class Teaching:
    """What the addresses share: the versions of a run, and what is being made.

    Args:
        service: it serves a run.
    """

    def __init__(self, service: Service) -> None:
        assert isinstance(service.subject, RunSubject)
        self.service = service
        self.versions = Versions(service.subject.folder)
        self.refining = Refining(self.versions.add)

    def served(self) -> RunSubject:
        """Give what is served now."""
        assert isinstance(self.service.subject, RunSubject)
        return self.service.subject

    @staticmethod
    def shown(request: Request) -> RunSubject:
        """Give what the page that asks shows: what was served when it asked."""
        subject = request.state.served.subject
        assert isinstance(subject, RunSubject)
        return subject

    def start(self, subject: RunSubject) -> None:
        """Refine a run by its marks as they are now."""
        run = subject.run
        if self.refining.state.running:
            raise Refused(409, BUSY)
        review = subject.review()
        check_possible(review, subject.network, run.options.network)
        if _lessons(subject, review).nothing:
            raise InputError("nothing is marked to be changed yet; mark a part under What it learned")
        self.refining.start(subject.folder, review, device=run.options.device, root=run.options.root)

    def in_words(self, subject: RunSubject) -> dict:
        """Tell what would be done with a run, or why it cannot be told; what is being done, and what was."""
        review, lessons = Review(), Lessons()
        try:
            review = subject.review()
            lessons = _lessons(subject, review)
            problem = _problem(review, subject)
        except InputError as error:  # of the run's folder as it is now, whatever has just been done
            problem = str(error)
        return {
            **_in_words(self.refining.state, self.versions),
            "plan": {
                "forget": list(lessons.forget),
                "misplaced": list(lessons.misplaced),
                "tolerated": list(lessons.tolerated),
                "required": sorted(lessons.required),
                "split": list(lessons.split),
                "added": [each.prototype for each in lessons.added],
                "doubtful": len(review.numbers("doubtful")),
                "can_replace": isinstance(subject.network, ComparesPatches),
                "problem": problem,
            },
            "versions": self.versions.in_words(),
            "served": self.versions.number(subject.folder),
        }

    def serve(self, number: int) -> None:
        """Serve another version from now on; called in the worker's thread."""
        folder = self.versions.folder(number)
        if folder != self.served().folder:
            subject = self.served().of(folder)
            _lessons(subject, subject.review())  # what the page would be refused is refused before
            subject.warm_up()
            self.service.switch(subject)


def _lessons(subject: RunSubject, review: Review) -> Lessons:
    """Read off what would be changed, as refining the run does; its data need not be there for that."""
    return find_lessons(review, subject.network, read_forbids(subject.files, subject.network))


def _problem(review: Review, subject: RunSubject) -> str | None:
    """Say what was marked that this network cannot do, before anybody waits for it."""
    try:
        check_possible(review, subject.network, subject.run.options.network)
    except InputError as error:
        return str(error)
    return None


def _in_words(state: State, versions: Versions) -> dict:
    return {
        "running": state.running,
        "share": state.share,
        "words": state.words,
        "error": state.error,
        "made": None if state.made is None else versions.number(state.made),
    }


def add_teaching(app: FastAPI, teaching: Teaching) -> None:
    """Add the addresses; what is made stands beside the served run."""
    refining, versions, service = teaching.refining, teaching.versions, teaching.service

    @app.get("/api/teach")
    async def state(request: Request) -> dict:
        return await asyncio.to_thread(teaching.in_words, teaching.shown(request))

    @app.post("/api/teach")
    async def start(request: Request) -> dict:
        subject = teaching.shown(request)
        await asyncio.to_thread(teaching.start, subject)
        return await asyncio.to_thread(teaching.in_words, subject)

    @app.post("/api/teach/stop")
    async def stop(request: Request) -> dict:
        await asyncio.to_thread(refining.stop)
        return await asyncio.to_thread(teaching.in_words, teaching.shown(request))

    @app.get("/api/teach/events")
    async def events() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            told = -1
            while True:
                state = refining.state
                if state.number != told:
                    told = state.number
                    yield json.dumps(_in_words(state, versions)).encode() + b"\n"
                if not state.running:
                    return
                await asyncio.sleep(SECONDS)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/api/versions/{number}/comparison")
    async def comparison(number: int) -> dict:
        return await asyncio.to_thread(versions.comparison, number)

    @app.post("/api/versions/{number}/serve")
    async def serve(number: int) -> dict:
        await service.do(lambda: teaching.serve(number), LATER)
        return await asyncio.to_thread(teaching.in_words, teaching.served())
