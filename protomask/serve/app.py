"""The addresses of the page, each a few lines over the worker and what is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from protomask.errors import InputError
from protomask.serve.answers import Answer
from protomask.serve.judging import add_judging
from protomask.serve.kept import Kept
from protomask.serve.of_run import RunSubject
from protomask.serve.pictures import clean_name, hide
from protomask.serve.received import FULL, MOST_BYTES, Content, Refused, Room, read_words, receive
from protomask.serve.safety import Guard
from protomask.serve.subjects import Asked, Subject
from protomask.serve.teaching import Teaching, add_teaching
from protomask.serve.worker import AT_ONCE, Busy, Event, Job, Worker

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MOST_BYTES_TOGETHER = 256 * 2**20
"""of all pictures that are being received or wait to be read"""
VERSION = "x-protomask-version"
"""the header by which a page says what it shows"""
OLD = "another network is served now; load the page anew"
FORGOTTEN = "this picture is no longer in memory; give it once more"


class Served(NamedTuple):
    """Hold what is served at a time; one value, so that nobody sees the one of before and the other of after."""

    subject: Subject
    version: int = 0
    """how often something else was served: a page that shows what is served no more is told so"""


class Service:
    """What the addresses share: what is served, one worker, the last pictures."""

    def __init__(self, subject: Subject, worker: Worker) -> None:
        self.served, self.worker, self.kept = Served(subject), worker, Kept()
        self.room = Room(MOST_BYTES_TOGETHER)

    @property
    def subject(self) -> Subject:
        """What is served now."""
        return self.served.subject

    def check_served(self, shown: Served) -> None:
        """Raise InputError where what a page shows is served no more; in the worker's thread, where it stays so."""
        if self.served is not shown:
            raise InputError(OLD)

    def explain(self, name: str, content: Content, shown: Served) -> Callable[[Job], None]:
        """Make the work of explaining an upload by what the page shows: the answer at once, then the masks."""

        def work(job: Job) -> None:
            subject = shown.subject
            with content:
                self.check_served(shown)
                asked = subject.read(name, content.bytes())
            job.check()
            answer = subject.answer(asked)
            job.tell({"answer": {**answer, "picture": self.kept.add(asked)}})
            if subject.about()["learns"]:
                job.go_on_later(lambda job: self._learn(job, subject, asked))

        return work

    def _learn(self, job: Job, subject: Subject, asked: Asked) -> None:
        def tell(share: float, masks: dict[int, dict]) -> None:
            job.tell({"progress": share, "masks": masks})

        def pause() -> None:
            job.check()
            self.worker.answer_urgent()

        tell(0.0, {})
        subject.learn(asked, tell, pause)

    def switch(self, subject: Subject) -> None:
        """Serve something else from now on; pictures that were asked about are forgotten. In the worker's thread."""
        self.served = Served(subject, self.served.version + 1)
        self.kept.clear()

    async def do(self, work: Callable[[], Any], priority: int = AT_ONCE) -> Any:
        """Do something in the worker's thread, and give its result."""
        results: list[Any] = []

        def run(job: Job) -> None:
            results.append(work())

        async for event in self.events(run, priority):
            if "error" in event:
                raise Refused(400, event["error"])
        return results[0]

    async def events(
        self, work: Callable[[Job], None], priority: int = AT_ONCE, *, tell_places: bool = False
    ) -> AsyncIterator[Event]:
        """Submit work, and give what it tells until it ends; cancelled where nobody listens any more."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event] = asyncio.Queue()

        def tell(event: Event) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, event)
            except RuntimeError:  # the server has ended
                job.cancel()

        job = Job(work, tell, priority)
        try:
            self.worker.submit(job)
        except Busy:
            raise Refused(429, FULL) from None
        try:
            while "end" not in (event := await queue.get()):
                if tell_places or "waiting" not in event:
                    yield event
        finally:
            job.cancel()


def make_app(subject: Subject, *, key: str, host: str = "127.0.0.1", port: int = 80) -> FastAPI:
    """Make the application; its worker lives as long as it does.

    Args:
        subject: what is served.
        key: without it nothing is answered.
        host, port: that it is served under.
    """
    worker = Worker()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with teaching.refining if teaching else nullcontext(), worker:
            warm_up = getattr(subject, "warm_up", None)
            if warm_up is not None:
                worker.submit(Job(lambda job: warm_up(), lambda event: None))
            yield

    service = Service(subject, worker)
    teaching = Teaching(service) if isinstance(subject, RunSubject) else None

    def check_version(request: Request) -> None:
        given, served = request.headers.get(VERSION), service.served
        if given is not None and given != str(served.version):
            raise Refused(409, OLD)
        request.state.served = served  # something else may be served by the time that the work begins

    app = FastAPI(
        title="protomask",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(check_version)],
        default_response_class=Answer,
    )
    app.state.service = service
    for file in sorted(PAGE.iterdir()):  # each has an address of its own: no path of a request is looked up
        if file.suffix in KINDS:
            address = "/" if file.name == "index.html" else f"/{file.name}"
            app.add_api_route(address, _file(file), methods=["GET"])
    _add_pictures(app, service)
    if teaching is not None:
        add_judging(app, teaching.shown, service.room)
        add_teaching(app, teaching)
    app.add_exception_handler(Refused, _say_refused)
    app.add_exception_handler(InputError, _say_wrong)
    app.add_middleware(Guard, key=key, host=host, port=port)
    return app


def _file(file: Path) -> Callable[[], Response]:
    content = file.read_bytes()
    return lambda: Response(content, media_type=KINDS[file.suffix])


def _add_pictures(app: FastAPI, service: Service) -> None:
    def asked(picture: str) -> Asked:
        found = service.kept.get(picture)
        if found is None:
            raise Refused(404, FORGOTTEN)
        return found

    @app.get("/api/about")
    async def about(request: Request) -> dict:
        shown: Served = request.state.served
        return {**shown.subject.about(), "version": shown.version}

    @app.get("/api/prototypes/{number}")
    async def prototype(request: Request, number: int) -> dict:
        describe = getattr(request.state.served.subject, "prototype", None)
        if describe is None:
            raise Refused(404, "this classifier has no prototypes")
        return describe(number)

    @app.post("/api/pictures")
    async def explain(request: Request, name: str = "picture") -> Response:
        content = await receive(request, MOST_BYTES, service.room)
        events = service.events(service.explain(clean_name(name), content, request.state.served), tell_places=True)
        try:
            first = await anext(events)
        except BaseException:
            content.release()
            raise

        async def lines() -> AsyncIterator[bytes]:
            with content:
                yield _line(first)
                async for event in events:
                    yield _line(event)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.post("/api/pictures/{picture}/hide")
    async def look_again(request: Request, picture: str) -> dict:
        shown: Served = request.state.served
        found, words = asked(picture), await read_words(request)
        width, height = found.upload.size

        def work() -> dict:
            service.check_served(shown)
            hidden = hide(found.images, words, width / height)
            return {"share": hidden.share, **shown.subject.look_again(found, hidden.images)}

        return await service.do(work)

    @app.get("/api/pictures/{picture}/panel")
    async def panel(request: Request, picture: str) -> Response:
        shown: Served = request.state.served
        found = asked(picture)

        def work() -> bytes:
            service.check_served(shown)
            return shown.subject.panel(found)

        return Response(await service.do(work), media_type="image/png")


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


async def _say_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Answer({"error": error.text}, error.status)


async def _say_wrong(request: Request, error: Exception) -> Response:
    return Answer({"error": " ".join(str(error).split())}, 400)
