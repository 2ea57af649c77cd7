"""What an evaluation found: values per pair, means with intervals, who is ahead of whom."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.pairs import Pairs
from protomask.evaluation.shape import check_evaluation
from protomask.files import write_atomically
from protomask.json_files import read_json, with_checksum
from protomask.metrics.statistics import bootstrap_band, bootstrap_means

Number = float | None
"""None is an undefined value: a pair that a metric does not count, a mean of none, an interval of one."""


@dataclass(frozen=True)
class Evaluation:
    """Localizers x metrics over the same pairs. Built by :meth:`summarise`, kept in ``evaluation.json``.

    ``comparisons`` holds every two localizers once, in the order they were given: ``difference`` is mean(a) - mean(b)
    over the pairs where both are defined, and ``better`` names the one that is ahead if the 95 % interval excludes
    zero.
    """

    pairs: Pairs
    names: list[str]
    """the pairs' images"""
    values: dict[str, dict[str, list[Number]]]
    """localizer -> metric -> one value per pair"""
    rows: list[dict]
    """localizer, metric, mean, ci_low, ci_high, n (pairs that count), seconds_per_map"""
    comparisons: list[dict]
    """metric, a, b, difference, ci_low, ci_high, better (a's name, b's name or "undecided"), n"""
    curves: dict[str, dict[str, dict[str, list[Number]]]] = field(default_factory=dict)
    """localizer -> "insertion" or "deletion" -> mean, ci_low, ci_high at equally spaced shares 0...1 of changed pixels,
    the score being divided by its value on the whole image"""
    classes: list[str] = field(default_factory=list)
    """the classes of the pairs' prototypes; empty in files of older versions"""
    prototypes: list[int] = field(default_factory=list)
    """the prototypes of ``prototype_values``"""
    prototype_values: dict[str, dict[str, list[Number]]] = field(default_factory=dict)
    """localizer -> metric -> one value per prototype, for the metrics that are measured over several images of each"""

    @classmethod
    def summarise(
        cls,
        pairs: Pairs,
        names: list[str],
        values: dict[str, dict[str, Tensor]],
        seconds_per_map: dict[str, float],
        curves: dict[str, dict[str, Tensor]] | None = None,
        *,
        classes: list[str] | None = None,
        prototypes: Tensor | None = None,
        seed: int = 0,
    ) -> Evaluation:
        """Means, intervals and comparisons from raw values (n,) and curves (n, T), NaN where undefined.

        Raw values of several shards or sessions may be concatenated first, in the order of ``pairs``. Metrics that are
        measured per prototype have a value for each of ``prototypes`` (P,) instead; what is resampled are the
        prototypes then.
        """
        metrics = list(next(iter(values.values())))
        of_prototypes = [metric for metric in metrics if metric in METRICS and METRICS[metric].of_prototypes]
        of_pairs = [metric for metric in metrics if metric not in of_prototypes]
        found = [_statistics(values, kind, seconds_per_map, seed) for kind in (of_pairs, of_prototypes) if kind]
        bands = {
            localizer: {metric: _band(curve, seed) for metric, curve in each.items()}
            for localizer, each in (curves or {}).items()
        }
        lists, prototype_lists = (
            {localizer: {metric: _numbers(each[metric]) for metric in kind} for localizer, each in values.items()}
            for kind in (of_pairs, of_prototypes)
        )
        return cls(
            pairs,
            list(names),
            lists,
            [row for rows, _ in found for row in rows],
            [row for _, rows in found for row in rows],
            bands,
            list(classes or ()),
            [] if prototypes is None else prototypes.tolist(),
            prototype_lists if of_prototypes else {},
        )

    @property
    def localizers(self) -> list[str]:
        return list(self.values)

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(row["metric"] for row in self.rows))

    def save(self, path: Path | str) -> None:
        """Write JSON; the file is whole or not there. Undefined values are ``null``."""
        content = {
            "rows": self.rows,
            "comparisons": self.comparisons,
            "curves": self.curves,
            "values": self.values,
            "pairs": {"positions": self.pairs.positions.tolist(), "prototypes": self.pairs.prototypes.tolist()},
            "names": self.names,
            "classes": self.classes,
            "prototypes": self.prototypes,
            "prototype_values": self.prototype_values,
        }
        lines = ",\n".join(f"{json.dumps(key)}: {_json(value)}" for key, value in with_checksum(content).items())
        write_atomically(path, lambda temporary: temporary.write_text("{\n" + lines + "\n}\n", encoding="utf-8"))

    @classmethod
    def load(cls, path: Path | str) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing or not an evaluation.
        """
        mend = "run the evaluation again"
        content = read_json(path, mend)
        try:
            check_evaluation(content)
        except ValueError as error:
            raise InputError(f"{path} is not a whole evaluation ({error}); {mend}") from error
        pairs = Pairs(content["pairs"]["positions"], content["pairs"]["prototypes"])
        later = {key: content[key] for key in ("classes", "prototypes", "prototype_values") if key in content}
        return cls(pairs, *(content[key] for key in ("names", "values", "rows", "comparisons", "curves")), **later)

    def table(self, width: int = 120) -> str:
        """Metrics down, localizers across, "mean [interval]"; an arrow says which way is better, ``*`` marks the best
        mean.

        Localizers that do not fit in ``width`` characters continue below.
        """
        found = {(row["localizer"], row["metric"]): row for row in self.rows}
        head = ["metric"] + [f"{metric} {'↑' if _higher_is_better(metric) else '↓'}" for metric in self.metrics]
        columns = []
        for localizer in self.localizers:
            cells = [_cell(found[localizer, metric], self.best(metric)) for metric in self.metrics]
            seconds = found[localizer, self.metrics[0]]["seconds_per_map"]
            columns.append(_pad([localizer, *cells, f"{seconds:.3g}  "]))
        counts = [[found[localizer, metric]["n"] for localizer in self.localizers] for metric in self.metrics]
        first = _pad([*head, "seconds per map"], left=True)
        ranges = [f"{min(each)}-{max(each)}" if min(each) < max(each) else str(each[0]) for each in counts]
        last = _pad(["n", *ranges, ""])
        room = max(1, width - len(first[0]) - len(last[0]) - 2)
        fitting = max(1, room // (max(len(column[0]) for column in columns) + 2))
        blocks = [zip(first, *columns[start : start + fitting], last) for start in range(0, len(columns), fitting)]
        return "\n\n".join("\n".join("  ".join(line).rstrip() for line in block) for block in blocks)

    def verdict(self, a: str, b: str) -> str:
        """One sentence: "mdm ahead of similarity in 5 of 6 metrics, behind in deletion; pointing_box undecided".

        Raises:
            InputError: a localizer that was not evaluated.
        """
        for name in (a, b):
            if name not in self.values:
                raise InputError(f"localizer {name!r} was not evaluated; these were: {', '.join(self.localizers)}")
        contests = [each for each in self.comparisons if {each["a"], each["b"]} == {a, b}]
        better = {name: [each["metric"] for each in contests if each["better"] == name] for name in (a, b, "undecided")}
        sentence = f"{a} ahead of {b} in {len(better[a])} of {len(contests)} metrics"
        if better[b]:
            sentence += f", behind in {', '.join(better[b])}"
        if better["undecided"]:
            sentence += f"; {', '.join(better['undecided'])} undecided"
        return sentence

    def best(self, metric: str) -> Number:
        """The best mean, or None where all are the same."""
        means = [row["mean"] for row in self.rows if row["metric"] == metric and row["mean"] is not None]
        if len(set(means)) < 2:
            return None
        return (max if _higher_is_better(metric) else min)(means)


def _statistics(
    values: dict[str, dict[str, Tensor]], metrics: list[str], seconds_per_map: dict[str, float], seed: int
) -> tuple[list[dict], list[dict]]:
    """Rows and comparisons of metrics whose values are of the same length."""
    keys = [(localizer, metric) for localizer in values for metric in metrics]
    contests = [(metric, a, b) for metric in metrics for a, b in itertools.combinations(values, 2)]
    columns = [values[localizer][metric].double() for localizer, metric in keys]
    differences = [values[a][metric].double() - values[b][metric].double() for metric, a, b in contests]
    intervals = bootstrap_means(torch.stack(columns + differences, 1), seed=seed)
    rows = [
        {
            "localizer": localizer,
            "metric": metric,
            "mean": _number(found.mean),
            "ci_low": _number(found.low),
            "ci_high": _number(found.high),
            "n": found.n,
            "seconds_per_map": _number(seconds_per_map[localizer]),
        }
        for (localizer, metric), found in zip(keys, intervals)
    ]
    comparisons = []
    for (metric, a, b), found in zip(contests, intervals[len(keys) :]):
        ahead = a if (found.mean > 0) == _higher_is_better(metric) else b
        comparisons.append(
            {
                "metric": metric,
                "a": a,
                "b": b,
                "difference": _number(found.mean),
                "ci_low": _number(found.low),
                "ci_high": _number(found.high),
                "better": ahead if found.excludes_zero else "undecided",
                "n": found.n,
            }
        )
    return rows, comparisons


def _higher_is_better(metric: str) -> bool:
    # A file may hold a metric that somebody else registered.
    return metric not in METRICS or METRICS[metric].higher_is_better


def _number(value: float) -> Number:
    """Seven digits are more than float32 holds; None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(f"{value:.7g}")


def _numbers(values: Tensor) -> list[Number]:
    return [_number(value) for value in values.tolist()]


def _band(curves: Tensor, seed: int) -> dict[str, list[Number]]:
    """Of curves (n, T); 2000 resamples are enough for a picture."""
    return dict(zip(("mean", "ci_low", "ci_high"), map(_numbers, bootstrap_band(curves, resamples=2000, seed=seed))))


def _json(value: object) -> str:
    """Rows one to a line, everything else compact."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(json.dumps(each) for each in value) + "\n]"
    return json.dumps(value, separators=(",", ":"))


def _pad(cells: list[str], left: bool = False) -> list[str]:
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _cell(row: dict, best: Number) -> str:
    if row["mean"] is None:
        return "-  "
    interval = "" if row["ci_low"] is None else f" [{short(row['ci_low'])}, {short(row['ci_high'])}]"
    return short(row["mean"]) + interval + (" *" if row["mean"] == best else "  ")


def short(value: float) -> str:
    """A number as tables have it: one digit after the point from 10 on, else three."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
