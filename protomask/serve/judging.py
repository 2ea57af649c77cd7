"""The addresses of judging: what people said of the prototypes, and saying more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request

from protomask.capabilities import ComparesPatches
from protomask.run.review import Review
from protomask.serve.of_run import RunSubject
from protomask.serve.received import Refused, Room, read_words
from protomask.suggested import command

MOST_BYTES_OF_MARKS = 16 * 2**20
"""as many as a review may hold, or a thousand outlines of as many corners as one may have"""


def add_judging(app: FastAPI, shown: Callable[[Request], RunSubject], room: Room) -> None:
    """Add the addresses; everything is kept in the ``review.json`` of the run that the asking page shows."""

    def told(subject: RunSubject, review: Review) -> dict:
        return {**in_words(review), "can_replace": isinstance(subject.network, ComparesPatches)}

    @app.get("/api/prototypes")
    async def prototypes(request: Request) -> list[dict]:
        return shown(request).overview()

    @app.get("/api/review")
    async def review(request: Request) -> dict:
        subject = shown(request)
        return told(subject, await asyncio.to_thread(subject.review))

    @app.post("/api/review")
    async def judge(request: Request) -> dict:
        subject = shown(request)  # not what is served when all has arrived: its prototypes have the same numbers
        refine = command("refine", subject.run.folder, "--review", "FILE")
        words = await read_words(request, MOST_BYTES_OF_MARKS, room, f"give the file by --review: {refine}")
        given = words.get("judgements") if isinstance(words, dict) else None
        if not isinstance(given, list) or not given:
            raise Refused(400, "what was sent holds no judgements")
        return told(subject, await asyncio.to_thread(subject.judge, given))


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
