"""What an audit found: one table of changes, and a verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from protomask.evaluation.texts import rounded
from protomask.statistics import Interval

ANSWERS, MOVED, OVERLAP = 0.9, 0.1, 0.5
"""Limits: answers that stay, share of its size by which a similarity moves, overlap of the most salient tenths."""


@dataclass(frozen=True)
class Check:
    """One change, and what should become of the map."""

    label: str
    keeps: bool
    """whether the map should stay where it is, or must go elsewhere"""


CHECKS = {
    "jpeg": Check("saved as JPEG (quality 75)", True),
    "noise": Check("noise below half a grey level", True),
    "shift": Check("shifted by 2 % of its side", True),
    "tag": Check("given a striped tag beside the object", True),
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
    """intersection over union of the maps' most salient tenths, before and after"""

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
        if not open_ or any(math.isnan(each.low) or each.mean == limit for each, limit in open_):
            return None
        return max(_images_needed(each, limit) for each, limit in open_)

    @property
    def outcome(self) -> str:
        """``"holds"``, ``"fails"``, or ``"undecided"``: where an interval lies on both sides of its limit."""
        found = [_side(each, limit, above=above) for each, limit, above in self._measures]
        return "fails" if "fails" in found else "undecided" if "undecided" in found else "holds"


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
        names = {name: [row.check for row in self.rows if row.outcome == name] for name in ("fails", "undecided")}
        blind = [check for check in names["fails"] if not CHECKS[check].keeps]
        fragile = [check for check in names["fails"] if CHECKS[check].keeps and check != "tag"]
        if "weights" in blind:
            first = (
                "Do not trust these pictures: they hardly change when the network's weights are shuffled, so they show "
            )
            first += "the image and not the network."
        elif "prototype" in blind:
            first = (
                "These pictures show where the network looks, but not which prototype does: another class's prototype "
            )
            first += "has nearly the same picture."
        elif fragile:
            first = (
                "These pictures are about the network and the prototype, but only for the very file they were made of: "
            )
            first += f"answer, similarity or picture do not survive when the image is {_listed(fragile)}."
        elif "tag" in names["fails"]:
            first = "These pictures are about the network and the prototype."
        elif names["undecided"]:
            first = "Nothing speaks against these pictures, but the images are too few to be sure."
        else:
            first = (
                "These pictures can be trusted to belong to this network and this prototype, and to stay the same for "
            )
            first += "images that look the same."
        if "tag" in names["fails"]:
            first += (
                " A striped tag beside the object, which should mean nothing, changes answer, similarity or picture: "
            )
            first += "see what else beside the object the network goes by."
        rest = f" Undecided: {_listed(names['undecided'])}{self._needed}." if names["undecided"] else ""
        return f"{first}{rest} Whether the score follows them is another question, which evaluate answers."

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
        checks = {name: asdict(check) for name, check in CHECKS.items()}
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
    if math.isnan(interval.low):  # too few images
        return "undecided"
    right = interval.low >= limit if above else interval.high <= limit
    wrong = interval.high < limit if above else interval.low > limit
    return "holds" if right else "fails" if wrong else "undecided"


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


def _listed(checks: list[str]) -> str:
    return ", ".join(CHECKS[check].label for check in checks)
