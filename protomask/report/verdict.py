"""An evaluation in words and tables: which picture to trust, by how much, and how sure that is."""

from __future__ import annotations

from protomask.evaluation.texts import counted, rounded, span
from protomask.report.charts import interval_mark
from protomask.report.palette import look
from protomask.report.wording import (
    BASELINES,
    FAITHFUL,
    count,
    duration,
    listed,
    localizer_label,
    metric_label,
    metric_sentence,
    metric_unit,
    number,
    spoken,
)
from protomask.statistics.intervals import FEW

LITTLE = 20
"""pairs below which only large differences can be told; of fewer than ``FEW`` images, none"""


def which_to_trust(evaluation, a: str, b: str) -> dict | None:
    """Give a headline and the reasons for it, from the metrics that ask whether the score follows the picture.

    Whether a map lies on the object is reported elsewhere and does not count here: a network may well look at the
    background, and its picture should then say so. A winner that is not ahead of a baseline that knows nothing gets
    a caution.

    Returns:
        ``headline``, ``sentences``; None where ``a`` and ``b`` were not compared in such a metric.
    """
    contests = [row for row in evaluation.comparisons if {row["a"], row["b"]} == {a, b} and row["metric"] in FAITHFUL]
    if not contests:
        return None
    ahead = {name: [row["metric"] for row in contests if row["better"] == name] for name in (a, b, "undecided")}
    winner = a if ahead[a] and not ahead[b] else b if ahead[b] and not ahead[a] else None
    first, second = (a, b) if winner != b else (b, a)
    cases = max(row["n"] for row in contests)
    sentences = [f"{_course(ahead, first, second)} ({count(cases, 'pair')} of a test image and a prototype)."]
    few = _too_few(cases, max(row.get("images") or row["n"] for row in contests))
    if few:
        sentences.append(f"These are too few {few} to rely on any of this; evaluate at least ten, better 50.")
    elif cases < LITTLE:
        sentences.append("With so few pairs only large differences can be told; evaluate more samples.")
    behind, undecided = _against_baselines(evaluation, winner) if winner else ({}, {})
    for rival in BASELINES:
        whom = f"{spoken(rival)}, which knows nothing of the network"
        if rival in behind:
            sentences.append(f"But it is behind {whom}, in {_metrics(behind[rival])}.")
        if rival in undecided:
            sentences.append(f"Against {whom}, it is not clearly ahead in {_metrics(undecided[rival])}: undecided.")
    sentences += _location(evaluation, first, second)
    headline = (
        f"too few {few} to tell {spoken(first)} from {spoken(second)}"
        if few
        else _headline(ahead, winner, first, second, len(contests))
    )
    if behind:
        headline += f", but behind {listed([spoken(rival) for rival in behind])} in part"
    return {"headline": headline, "sentences": sentences, "winner": winner}


def _too_few(pairs: int, images: int) -> str:
    """Name what there is too little of for any verdict; empty where there is enough."""
    return "pairs" if pairs < FEW else "images" if images < FEW else ""


def _headline(ahead: dict[str, list[str]], winner: str | None, first: str, second: str, contests: int) -> str:
    names = spoken(first), spoken(second)
    if winner:
        if 2 * len(ahead[winner]) < contests:
            return f"mostly undecided; what can be told favours {names[0]}"
        return f"{names[0]}, more than {names[1]}"
    if not ahead[first]:
        return f"{names[0]} and {names[1]} cannot be told apart"
    return (
        f"neither {names[0]} nor {names[1]} throughout; {names[0]} is ahead in {_metrics(ahead[first])}, behind in "
        f"{_metrics(ahead[second])}"
    )


def _course(ahead: dict[str, list[str]], first: str, second: str) -> str:
    """One sentence: in what ``first`` is ahead of ``second``, behind it, and undecided."""
    if not ahead[first] and not ahead[second]:
        return f"No paired difference is clear in {_metrics(ahead['undecided'])}"
    sentence = f"The score follows {spoken(first)} more closely than {spoken(second)} in {_metrics(ahead[first])}"
    if ahead[second]:
        sentence += f"; {spoken(first)} is behind in {_metrics(ahead[second])}"
    several = len(ahead[first]) + len(ahead[second]) > 1
    sentence += (
        f": {'these differences stand' if several else 'this difference stands'} after a correction for all metrics"
    )
    return sentence + (f". Undecided: {_metrics(ahead['undecided'])}" if ahead["undecided"] else "")


def _location(evaluation, first: str, second: str) -> list[str]:
    """Where the maps lie, and how steady they are: it decides nothing here, but who is behind is said."""
    rows = [
        row
        for row in evaluation.comparisons
        if {row["a"], row["b"]} == {first, second} and row["metric"] not in FAITHFUL and row["better"] != "undecided"
    ]
    ahead = [row["metric"] for row in rows if row["better"] == first]
    behind = [row["metric"] for row in rows if row["better"] == second]
    said = [f"{word} in {_metrics(names)}" for word, names in (("ahead", ahead), ("behind", behind)) if names]
    if not said:
        return []
    return [f"In other respects, which do not decide this, {spoken(first)} is {', '.join(said)}."]


def _against_baselines(evaluation, winner: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Name the metrics in which ``winner`` is behind each baseline, and those in which it is not told apart from it."""
    behind: dict[str, list[str]] = {}
    undecided: dict[str, list[str]] = {}
    for row in evaluation.comparisons:
        rival = ({row["a"], row["b"]} - {winner}).pop() if winner in (row["a"], row["b"]) else None
        if rival in BASELINES and row["metric"] in FAITHFUL and row["better"] != winner:
            (behind if row["better"] == rival else undecided).setdefault(rival, []).append(row["metric"])
    return behind, undecided


def metric_table(evaluation) -> dict:
    """Make a table: metrics down, localizers across, the best mean marked."""
    rows = {(row["metric"], row["localizer"]): row for row in evaluation.rows}
    metrics = list(dict.fromkeys(row["metric"] for row in evaluation.rows))
    localizers = list(dict.fromkeys(row["localizer"] for row in evaluation.rows))
    lines = []
    for metric in metrics:
        up = higher_is_better(metric)
        means = [
            rows[metric, name]["mean"]
            for name in localizers
            if (metric, name) in rows and rows[metric, name]["mean"] is not None
        ]
        best = (max(means) if up else min(means)) if means else None
        cells = []
        for name in localizers:
            row = rows.get((metric, name))
            mean = row and row["mean"]
            cells.append(
                {
                    "mean": number(mean, _digits(metric)),
                    "best": mean is not None and mean == best and len(set(means)) > 1,
                    "interval": _interval(row) if row else "",
                    "n": row["n"] if row else 0,
                }
            )
        counts = [int(cell["n"]) for cell in cells]
        lines.append(
            {
                "label": metric_label(metric),
                "unit": metric_unit(metric),
                "sentence": metric_sentence(metric),
                "direction": "higher is better" if up else "lower is better",
                "arrow": "↑" if up else "↓",
                "cells": cells,
                "n": span(counts, metric, "–"),
                "faithful": metric in FAITHFUL,
            }
        )
    seconds = [
        next(row["seconds_per_map"] for row in evaluation.rows if row["localizer"] == name) for name in localizers
    ]
    return {
        "localizers": [{"label": localizer_label(name), "look": look(name)} for name in localizers],
        "rows": lines,
        "rows_count": len(lines),
        "seconds": [duration(value) for value in seconds],
    }


def differences(evaluation, a: str, b: str) -> list[dict]:
    """Give the paired differences of two localizers, turned so that positive is always better for ``a``."""
    found = []
    for row in evaluation.comparisons:
        if {row["a"], row["b"]} != {a, b} or row["difference"] is None:
            continue
        sign = (1 if row["a"] == a else -1) * (1 if higher_is_better(row["metric"]) else -1)
        low, high = row["ci_low"], row["ci_high"]
        bounds = sorted((sign * low, sign * high)) if low is not None and high is not None else ()
        ends = [_signed(bound, row["metric"]) for bound in bounds]
        better = row["better"]
        found.append(
            {
                "label": metric_label(row["metric"]),
                "unit": metric_unit(row["metric"]),
                "difference": _signed(sign * row["difference"], row["metric"]),
                "interval": " to ".join(ends),
                "n": counted(row["n"], row["metric"]),
                "says": _says(row),
                "needed": "–"
                if not row.get("images_needed")
                else counted(rounded(row["images_needed"]), row["metric"], ","),
                "better": None if better == "undecided" else look(better),
                "mark": interval_mark(sign * row["difference"], *(bounds or (None, None))),
            }
        )
    return found


def _says(row: dict) -> str:
    if row["better"] != "undecided":
        return f"{localizer_label(row['better'])} better"
    alone = row.get("better_alone", "undecided")
    return "undecided" if alone == "undecided" else f"undecided (alone: {localizer_label(alone)} better)"


def contest_tables(evaluation, a: str, b: str) -> list[dict]:
    """Give :func:`differences` of every two localizers, the contest of ``a`` and ``b`` first."""
    pairs = list(dict.fromkeys((row["a"], row["b"]) for row in evaluation.comparisons))
    pairs.sort(key=lambda pair: set(pair) != {a, b})
    return [
        {"a": localizer_label(first), "b": localizer_label(second), "rows": differences(evaluation, first, second)}
        for first, second in ((a, b) if set(pair) == {a, b} else pair for pair in pairs)
    ]


def higher_is_better(metric: str) -> bool:
    from protomask.evaluation.catalogue import HIGHER_IS_BETTER

    return HIGHER_IS_BETTER.get(metric, True)


def _metrics(names: list[str]) -> str:
    return listed([_within(metric_label(name)) for name in names])


def _within(label: str) -> str:
    """Write a label as it stands within a sentence: ``Pointing game, box`` becomes ``pointing game (box)``."""
    first, comma, rest = label.partition(", ")
    first = first if any(letter.isupper() for letter in first[1:]) else first[0].lower() + first[1:]
    return f"{first} ({rest})" if comma else first


def _digits(metric: str) -> int:
    return 1 if metric_unit(metric) == "%" else 3


def _signed(value: float, metric: str) -> str:
    text = number(value, _digits(metric))
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def _interval(row: dict) -> str:
    low, high = row["ci_low"], row["ci_high"]
    return (
        ""
        if low is None or high is None
        else f"{number(low, _digits(row['metric']))} to {number(high, _digits(row['metric']))}"
    )
