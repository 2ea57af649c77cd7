"""The addresses of judging: what people said of the prototypes, and saying more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request

from protomask.run.review import Review, add_judgements
from protomask.serve.of_run import RunSubject
from protomask.serve.received import Refused, read_words


def add_judging(app: FastAPI, served: Callable[[], RunSubject]) -> None:
    """Add the addresses; everything is kept in the ``review.json`` of the run that is served at the time."""

    @app.get("/api/prototypes")
    async def prototypes() -> list[dict]:
        return served().overview()

    @app.get("/api/review")
    async def review() -> dict:
        return in_words(await asyncio.to_thread(served().review))

    @app.post("/api/review")
    async def judge(request: Request) -> dict:
        words = await read_words(request)
        given = words.get("judgements") if isinstance(words, dict) else None
        if not isinstance(given, list) or not given:
            raise Refused(400, "what was sent holds no judgements")
        subject = served()
        records = [picture.record for picture in subject.prototypes]
        return in_words(await asyncio.to_thread(add_judgements, subject.run.folder, given, records))


def in_words(review: Review) -> dict[str, Any]:
    """Give what holds, as the page shows it."""
    return {
        "prototypes": {
            str(number): {
                "verdict": each.verdict,
                "disputed": each.disputed,
                "words": [{"by": by, "verdict": one, "note": note} for by, (one, note) in each.words.items()],
            }
            for number, each in review.standing().items()
        },
        "regions": [
            {
                "prototype": each.prototype,
                "corners": each.corners,
                "meaning": each.meaning,
                "by": each.by,
                "note": each.note,
            }
            for each in review.regions()
        ],
        "judgements": len(review.judgements),
    }
