"""What an audit found: one table of changes, and a verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from protomask.evaluation.texts import rounded
from protomask.statistics import Interval
from protomask.statistics.intervals import FEW

ANSWERS, MOVED, OVERLAP = 0.9, 0.1, 0.5
"""Limits: answers that stay, share of its size by which a similarity moves, overlap of the most salient tenths."""


@dataclass(frozen=True)
class Check:
    """One change, and what should become of the map."""

    label: str
    keeps: bool
    """whether the map should stay where it is, or must go elsewhere"""
    done: str = ""
    """what is done to the image, after "when the image" """


CHECKS = {
    "jpeg": Check("saved as JPEG (quality 75)", True, "is saved as JPEG (quality 75)"),
    "noise": Check("noise below half a grey level", True, "gets noise below half a grey level"),
    "shift": Check("shifted by 2 % of its side", True, "is shifted by 2 % of its side"),
    "tag": Check("given a striped tag beside the object", True, "gets a striped tag beside the object"),
    "prototype": Check("asked about a prototype of another class", False),
    "weights": Check("weights shuffled", False),
}


@dataclass(frozen=True)
class Row:
    """What one change did; shares in [0, 1], with 95 % intervals, None where it is not asked."""

    check: str
    answers: Interval | None
    """images whose predicted class stayed"""
    moved: Interval | None
    """by how much similarities moved, as a share of their size"""
    overlap: Interval
    """of the maps' most salient tenths, before and after (:func:`protomask.metrics.shared_first`); blank maps are left
    out"""

    @property
    def _measures(self) -> list[tuple[Interval, float, bool]]:
        """What was measured, with its limit, and whether it should be above."""
        found = [(self.overlap, OVERLAP, CHECKS[self.check].keeps)]
        found += [(self.answers, ANSWERS, True)] if self.answers else []
        return found + ([(self.moved, MOVED, False)] if self.moved else [])

    @property
    def needed(self) -> int | None:
        """Images that would decide what is undecided, if the means stay as they are; None: nothing is, or too few."""
        open_ = [
            (each, limit) for each, limit, above in self._measures if _side(each, limit, above=above) == "undecided"
        ]
        if not open_ or any(_too_few(each) or each.mean == limit for each, limit in open_):
            return None
        return max(_images_needed(each, limit) for each, limit in open_)

    @property
    def outcome(self) -> str:
        """``"holds"``, ``"fails"``, or ``"undecided"``: where an interval lies on both sides of its limit."""
        found = [_side(each, limit, above=above) for each, limit, above in self._measures]
        return "fails" if "fails" in found else "undecided" if "undecided" in found else "holds"


_SUBJECTS = {"weights": "the network", "prototype": "the prototype"}
"""check -> what pictures are about, where it holds"""


@dataclass(frozen=True)
class Audit:
    """The table of an audit, and its verdict."""

    localizer: str
    images: int
    rows: tuple[Row, ...]

    def outcome(self, check: str) -> str:
        return next(row.outcome for row in self.rows if row.check == check)

    @property
    def verdict(self) -> str:
        """Say what the pictures can be trusted for, in plain words."""
        names = {
            name: [row.check for row in self.rows if row.outcome == name] for name in ("holds", "fails", "undecided")
        }
        blank, pictures = self._blank
        if blank and blank == pictures:
            return "All these pictures are blank: they say nothing. See whether another localizer finds something."
        known = " and ".join(what for check, what in _SUBJECTS.items() if check in names["holds"])
        fragile = [check for check in names["fails"] if CHECKS[check].keeps and check != "tag"]
        if "weights" in names["fails"]:
            said = [
                "Do not trust these pictures: they hardly change when the network's weights are shuffled, so they show "
                "the image and not the network."
            ]
        elif "prototype" in names["fails"]:
            start = (
                "These pictures show where the network looks, but not which prototype does"
                if "weights" in names["holds"]
                else "These pictures do not show what the prototype looks for"
            )
            said = [f"{start}: another class's prototype has nearly the same picture."]
        elif fragile:
            start = f"are about {known}, but only" if known else "can be trusted at most"
            said = [
                f"These pictures {start} for the very file they were made of: answer, similarity or picture do not "
                f"survive when the image {_any_of(fragile)}."
            ]
        elif "tag" in names["fails"]:
            said = [f"These pictures are about {known}."] if known else []
        elif names["undecided"]:
            said = ["Nothing speaks against these pictures, but the images are too few to be sure."]
        else:
            said = [
                "These pictures can be trusted to belong to this network and this prototype, and to stay the same for "
                "images that look the same."
            ]
        if "tag" in names["fails"]:
            said.append(
                "A striped tag beside the object, which should mean nothing, changes answer, similarity or picture: "
                "see what else beside the object the network goes by."
            )
        if names["undecided"]:
            said.append(f"Undecided: {_listed(names['undecided'])}{self._needed}.")
        if blank:
            said.append(f"{blank} of the {pictures} pictures {'is' if blank == 1 else 'are'} blank and left out.")
        return " ".join([*said, "Whether the score follows them is another question, which evaluate answers."])

    @property
    def _blank(self) -> tuple[int, int]:
        """How many pictures are blank, and how many there are: JPEG and noise ask for the answers to every image, and
        for the map where there is one."""
        asked = [(row.answers.n, row.overlap.n) for row in self.rows if row.check in ("jpeg", "noise") and row.answers]
        pictures, drawn = asked[0] if asked else (0, 0)
        return max(pictures - drawn, 0), pictures

    @property
    def _needed(self) -> str:
        needed = [row.needed for row in self.rows if row.outcome == "undecided" and row.needed is not None]
        count = rounded(max(needed, default=0))
        return f"; about {count:,} images would decide, if the means stay as they are" if count else ""

    def table(self) -> str:
        """Write the table as text."""
        lines = [
            f"{'change':<42} {'answers kept':>22} {'similarity moved':>22} {'maps overlap':>22}  should    outcome"
        ]
        for row in self.rows:
            check = CHECKS[row.check]
            cells = [written(_plain(each)) for each in (row.answers, row.moved, row.overlap)]
            lines.append(
                f"{check.label:<42} {cells[0]:>22} {cells[1]:>22} {cells[2]:>22}  {'stay' if check.keeps else 'go':<8}"
                f"  {row.outcome}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict:
        rows = [
            {
                "check": row.check,
                "outcome": row.outcome,
                **{name: _plain(getattr(row, name)) for name in ("answers", "moved", "overlap")},
            }
            for row in self.rows
        ]
        limits = {"answers": ANSWERS, "moved": MOVED, "overlap": OVERLAP}
        checks = {name: {"label": check.label, "keeps": check.keeps} for name, check in CHECKS.items()}
        return {
            "localizer": self.localizer,
            "images": self.images,
            "limits": limits,
            "checks": checks,
            "rows": rows,
            "verdict": self.verdict,
        }


def _side(interval: Interval, limit: float, *, above: bool) -> str:
    """Tell whether a mean is surely on the side of the limit where it should be."""
    if _too_few(interval):
        return "undecided"
    right = interval.low >= limit if above else interval.high <= limit
    wrong = interval.high < limit if above else interval.low > limit
    return "holds" if right else "fails" if wrong else "undecided"


def _too_few(interval: Interval) -> bool:
    """Tell whether too few images were measured to decide anything; an interval of a share there always is."""
    images = interval.n if interval.units is None else interval.units
    return images < FEW or math.isnan(interval.low)


def _images_needed(interval: Interval, limit: float) -> int:
    """Compute how many images bring the interval's end to its limit: its length falls with the root of their number."""
    reach = interval.mean - interval.low if interval.mean > limit else interval.high - interval.mean
    return round((interval.units or interval.n) * (reach / (interval.mean - limit)) ** 2)


def written(measure: Mapping | None) -> str:
    """Write a mean and its interval, as ``audit.json`` holds them; a dash where nothing was asked."""
    if measure is None or measure["mean"] is None:
        return "-"
    if measure["ci_low"] is None:  # too few images
        return f"{measure['mean']:.2f}"
    return f"{measure['mean']:.2f} [{measure['ci_low']:.2f}, {measure['ci_high']:.2f}]"


def _plain(interval: Interval | None) -> dict | None:
    if interval is None:
        return None
    numbers = {"mean": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
    return {name: None if math.isnan(value) else value for name, value in numbers.items()} | {"n": interval.n}


def _any_of(checks: list[str]) -> str:
    *most, last = [CHECKS[check].done for check in checks]
    return f"{', '.join(most)} or {last}" if most else last


def _listed(checks: list[str]) -> str:
    return ", ".join(CHECKS[check].label for check in checks)
