"""From the measured rows to means, intervals and paired differences."""

from __future__ import annotations

import math

import torch

from protomask.statistics import Comparison, Interval, bootstrap_mean, compare_values, share_interval

QUALITY = {
    "insertion": True,
    "deletion": False,
    "average_drop": False,
    "average_gain": True,
    "energy": True,
    "pointing": True,
}
"""metric -> whether higher is better"""
COST = ("seconds", "cpu_seconds", "forward", "backward")
HITS = {"pointing": 1.0}
"""metrics of 0 or this"""
Rows = dict[str, dict[str, dict]]
"""method -> image -> what was measured"""


def means(rows: Rows) -> dict[str, dict[str, Interval]]:
    """Mean and 95 % interval of every quantity, over the images of each method."""
    return {
        method: {key: _mean(_values(images, key, list(images)), key) for key in (*QUALITY, *COST)}
        for method, images in rows.items()
    }


def differences(rows: Rows, ours: list[str]) -> dict[str, dict[str, dict[str, Comparison]]]:
    """Paired differences ``one - other`` over the images that both have: one -> other -> metric -> what was found."""
    found: dict[str, dict[str, dict[str, Comparison]]] = {}
    for one in ours:
        for other in rows:
            common = [image for image in rows.get(one, {}) if image in rows[other]]
            if other != one and common:
                both = ({key: _values(rows[name], key, common) for key in QUALITY} for name in (one, other))
                found.setdefault(one, {})[other] = compare_values(*both, hits=HITS)
    return found


def verdict(metric: str, sign: int) -> str:
    """Whether the first of a pair is ``ahead`` or ``behind``, or it is ``open``, given the sign of the difference by
    the corrected verdict (0: undecided)."""
    return "open" if not sign else "ahead" if (sign > 0) == QUALITY[metric] else "behind"


def table(rows: Rows) -> str:
    """Markdown: one line per method; intervals in brackets."""
    lines = [
        "| method | images | insertion | deletion | average drop % | average gain % | energy in box | pointing game "
        "| s / image | CPU s / image | forward-backward | forward only |",
        "|---" * 12 + "|",
    ]
    for method, found in means(rows).items():
        cells = [_cell(found[key], 1 if key in ("average_drop", "average_gain") else 3) for key in QUALITY]
        cost = [
            _number(found["seconds"].mean, 2),
            _number(found["cpu_seconds"].mean, 2),
            _number(found["backward"].mean, 0),
            _number(found["forward"].mean, 0),
        ]
        lines.append(f"| {method} | {len(rows[method])} | " + " | ".join(cells + cost) + " |")
    return "\n".join(lines)


def difference_table(rows: Rows, ours: list[str]) -> str:
    """Markdown: paired differences in the metrics, and who is ahead."""
    lines = [
        "| difference | images | " + " | ".join(key.replace("_", " ") for key in QUALITY) + " |",
        "|---" * (2 + len(QUALITY)) + "|",
    ]
    for one, others in differences(rows, ours).items():
        for other, found in others.items():
            cells = [
                f"{_cell(each.interval, 1 if key in ('average_drop', 'average_gain') else 3, sign=True)} "
                f"{verdict(key, each.sign)}"
                for key, each in found.items()
            ]
            count = sum(image in rows[other] for image in rows[one])
            lines.append(f"| {one} - {other} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: torch.Tensor, key: str) -> Interval:
    return share_interval(values, HITS[key]) if key in HITS else bootstrap_mean(values)


def _values(images: dict[str, dict], key: str, names: list[str]) -> torch.Tensor:
    return torch.tensor(
        [math.nan if images[name][key] is None else images[name][key] for name in names], dtype=torch.float64
    )


def _number(value: float, digits: int, sign: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def _cell(interval: Interval, digits: int, sign: bool = False) -> str:
    low, high = (_number(bound, digits, sign) for bound in (interval.low, interval.high))
    return f"{_number(interval.mean, digits, sign)} [{low}, {high}]"
