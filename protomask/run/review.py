"""What people think of a run's prototypes: ``review.json``, to which judgements are only ever added.

Every judgement has an identity of its own, a time and a person, so that two people at once lose nothing and files from
several places can be joined. What counts is each person's last word on a prototype; where two people differ, the
prototype is doubtful.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from protomask.errors import InputError
from protomask.explanations.records import PrototypeRecord
from protomask.json_files import read_json, write_json
from protomask.lock import locked
from protomask.run_folder import check_still_there
from protomask.schema import Range, Required, TypedDict, check

FILE = "review.json"
VERDICTS = ("keep", "doubtful", "forget", "split")
"""split: it means two things, and should become two prototypes"""
MEANINGS = ("evidence", "class", "distraction")
"""of a region: this prototype should look there; some prototype of its class must; nothing should"""
MOST = 50_000
LOCK = ".review.lock"
ELSEWHERE = "start protomask serve where it is now"
"""what helps where a run that is judged has gone, see :func:`protomask.run_folder.check_still_there`"""
OF_THIS_RUN = "give the review of this run"
OWN = "restore the run's own review, or remove the file"
"""what helps where the file in the run's folder is wrong, which nobody gave"""
_PATIENCE = 20.0
_WRITING = threading.Lock()

Share = Annotated[float, Range(-0.01, 1.01)]


class Judgement(TypedDict, total=False):
    """Hold one judgement as the file has it."""

    id: Required[Annotated[str, Range(1, 64)]]
    at: Required[Annotated[str, Range(1, 40)]]
    """when, ISO 8601; without a zone it is UTC"""
    by: Required[Annotated[str, Range(1, 40)]]
    """a person's initials"""
    prototype: Required[Annotated[int, Range(0, 10**6)]]
    source: Required[Annotated[str, Range(0, 4000)]]
    """the training image that the prototype comes from: a review of another network does not fit"""
    verdict: str
    """of ``VERDICTS``"""
    note: Annotated[str, Range(0, 2000)]
    region: Annotated[list[tuple[Share, Share]], Range(3, 1000)]
    """corners x, y of a part of the source image, as shares of its width and height"""
    meaning: str
    """of ``MEANINGS``"""
    withdrawn: bool
    """the region of the same person and corners counts no more"""


class ReviewFile(TypedDict):
    """Hold ``review.json``."""

    judgements: Annotated[list[Judgement], Range(0, MOST)]


@dataclass(frozen=True)
class Region:
    """A part of a prototype's source image that somebody outlined."""

    prototype: int
    corners: tuple[tuple[float, float], ...]
    meaning: str
    by: str
    note: str = ""
    at: str = ""
    """when, ISO 8601"""

    def is_later(self, than: str) -> bool:
        """Tell whether it was outlined after a time, ISO 8601."""
        return _instant(self.at) > _instant(than)


@dataclass(frozen=True)
class Standing:
    """What holds of one prototype."""

    verdict: str
    """of ``VERDICTS``; doubtful where people differ"""
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    """person to verdict and note"""

    @property
    def disputed(self) -> bool:
        return len({verdict for verdict, _ in self.words.values()}) > 1


@dataclass(frozen=True)
class Review:
    """All judgements, in the order in which they were added."""

    judgements: tuple[Judgement, ...] = ()

    @property
    def in_time(self) -> list[Judgement]:
        """The judgements by time: a file that somebody adds later may hold earlier ones."""
        return sorted(self.judgements, key=lambda each: _instant(each["at"]))

    def standing(self) -> dict[int, Standing]:
        """Tell what holds of every prototype that was judged."""
        words: dict[int, dict[str, tuple[str, str]]] = {}
        for each in self.in_time:
            if "verdict" in each:
                words.setdefault(each["prototype"], {})[each["by"]] = (each["verdict"], each.get("note", ""))
        return {
            number: Standing(
                verdicts.pop() if len(verdicts := {one for one, _ in said.values()}) == 1 else "doubtful", said
            )
            for number, said in sorted(words.items())
        }

    def regions(self) -> list[Region]:
        """List the regions that were outlined and not withdrawn."""
        found: dict[tuple, Region] = {}
        for each in self.in_time:
            if "region" not in each:
                continue
            corners = tuple((float(x), float(y)) for x, y in each["region"])
            key = each["by"], each["prototype"], corners
            if each.get("withdrawn"):
                found.pop(key, None)
            else:
                found[key] = Region(
                    each["prototype"], corners, each["meaning"], each["by"], each.get("note", ""), each["at"]
                )
        return list(found.values())

    def numbers(self, verdict: str) -> list[int]:
        """List the prototypes of one verdict."""
        return [number for number, each in self.standing().items() if each.verdict == verdict]

    def kept_by_somebody(self) -> list[int]:
        """List the prototypes that anybody's last word keeps, also those on which people differ."""
        return [
            number
            for number, each in self.standing().items()
            if any(verdict == "keep" for verdict, _ in each.words.values())
        ]

    def check_fits(self, records: Sequence[PrototypeRecord], where: str, mend: str = OF_THIS_RUN) -> None:
        """Raise InputError of ``where``, which ends in ``mend``, unless the judgements are of these prototypes."""
        for each in self.judgements:
            number = each["prototype"]
            if number >= len(records):
                raise InputError(f"{where} judges prototype {number}, but the run has {len(records)}; {mend}")
            if _printed(each["source"]) != _printed(records[number].source):
                raise InputError(
                    f"{where} judges a prototype {number} from {each['source']}, but the run's is from "
                    f"{records[number].source}; {mend}"
                )


def _printed(source: str) -> bytes:
    """Give a name as a report has it, and the marks that it exports: what is not UTF-8 stands there in letters."""
    return source.encode("utf-8", "backslashreplace")


def read_review(path: Path, mend: str = "give the review.json of a run, or the file that a report exported") -> Review:
    """Read a review.

    Raises:
        InputError: missing, damaged, or no review; ends in ``mend``.
    """
    return Review(_checked(read_json(path, mend), str(path), mend))


def join_reviews(reviews: Iterable[Review]) -> Review:
    """Join what several files hold; a judgement that is in two of them counts once.

    Raises:
        InputError: two that differ have the same id.
    """
    return Review(_once((each for review in reviews for each in review.judgements), "the reviews together"))


def review_of(folder: Path, records: Sequence[PrototypeRecord] | None = None) -> Review:
    """Read the review in a run's folder; empty where nobody judged.

    Args:
        records: of the run's prototypes, which it must fit where they are given.

    Raises:
        InputError: it is damaged, or of other prototypes, or the folder is no longer there.
    """
    check_still_there(folder)
    path = folder / FILE
    review = read_review(path, OWN) if path.exists() or path.is_symlink() else Review()
    if records is not None:
        review.check_fits(records, str(path), OWN)
    return review


def add_judgements(
    folder: Path, given: Iterable[Any], records: Sequence[PrototypeRecord], check: Callable[[], None] = lambda: None
) -> Review:
    """Add judgements to the review in a run's folder, one process and thread at a time.

    Args:
        given: :class:`Judgement` without ``id``, ``at`` and ``source``, which are filled in; those of a file that has
            them are taken as they are, and those that are there already are not taken twice.
        records: of the run's prototypes.
        check: called when nobody else can add any; raises where the folder's run is another one by now.

    Returns:
        The review with them.

    Raises:
        InputError: one is no judgement, of no prototype of this run, or has the id of another one, or those that are
            there already are of another run, or the folder is no longer there; then none is added.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    filled: list[Any] = []
    for each in given:
        each = dict(each) if isinstance(each, dict) else {}
        number = each.get("prototype")
        known = isinstance(number, int) and 0 <= number < len(records)
        source = records[number].source if isinstance(number, int) and known else ""
        filled.append({"id": secrets.token_hex(8), "at": now, "source": source, **each})
    new = _checked({"judgements": filled}, "the judgement", "give a prototype, initials, and a verdict or a region")
    Review(new).check_fits(records, "the judgement")
    check_still_there(folder, ELSEWHERE)  # the lock would make it anew
    with _WRITING, locked(folder, LOCK, _PATIENCE):
        check()
        joined = _once((*review_of(folder, records).judgements, *new), f"{folder / FILE} with what is added")
        if len(joined) > MOST:
            raise InputError(f"{folder / FILE} holds {MOST} judgements, and no more fit")
        write_json(folder / FILE, {"judgements": list(joined)})
    return Review(joined)


def _checked(content: Any, where: str, mend: str) -> tuple[Judgement, ...]:
    try:
        check(content, ReviewFile)
        for place, each in enumerate(content["judgements"]):
            _check_kind(each, f"judgements[{place}]")
    except ValueError as error:
        raise InputError(f"{where} is no review ({error}); {mend}") from error
    return _once(content["judgements"], where)


def _check_kind(each: Judgement, where: str) -> None:
    if not each["by"].strip():
        raise ValueError(f"{where}: the initials are empty")
    if ("verdict" in each) == ("region" in each):
        raise ValueError(f"{where}: a judgement has a verdict or a region")
    if "verdict" in each and each["verdict"] not in VERDICTS:
        raise ValueError(f"{where}.verdict is {each['verdict']!r}; choose from {', '.join(VERDICTS)}")
    if "region" in each and each.get("meaning") not in MEANINGS:
        raise ValueError(f"{where}.meaning is {each.get('meaning')!r}; choose from {', '.join(MEANINGS)}")
    try:
        _instant(each["at"])
    except InputError as error:
        raise ValueError(f"{where}.{error}") from None


def _instant(at: str) -> datetime:
    try:  # Python 3.10 does not know the Z
        time = datetime.fromisoformat(at[:-1] + "+00:00" if at.endswith(("Z", "z")) else at)
    except ValueError:
        raise InputError(f"at is {at!r}; it must be a time such as 2026-01-31T23:59:59Z") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _once(judgements: Iterable[Judgement], where: str) -> tuple[Judgement, ...]:
    """Leave out those that are there already; the same id with something else is an error."""
    found: dict[str, Judgement] = {}
    for each in judgements:
        if found.setdefault(each["id"], each) != each:
            raise InputError(
                f"{where}: two judgements that differ have the id {each['id']!r}; give one of them another"
            )
    return tuple(found.values())
