"""Numbers for line charts before they are drawn, by matplotlib or in the HTML report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from protomask.errors import InputError
from protomask.statistics.intervals import FEW

STAGES = {"warm": "warm-up", "joint": "joint training", "last": "last layer", "last_layer": "last layer"}

ACCURACIES = ("train_accuracy", "validation_accuracy")
"""keys of a log's rows"""


def training_panels(findings: bool) -> list[tuple[tuple[str, ...], str]]:
    """List what is drawn of a training: keys of a log's rows, and the title.

    Args:
        findings: whether an image may have several; then accuracies are shares of right answers over all of them.
    """
    right = "Right answers over all findings" if findings else "Accuracy"
    return [(ACCURACIES, right), (("loss",), "Training loss")]


class Line(NamedTuple):
    """Hold a line of a chart with its band; ``low`` and ``high`` may be None or hold NaN."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


class Stage(NamedTuple):
    """Hold a stretch of training: epochs ``first`` to ``last`` of the whole run, inclusive, counted from 1."""

    name: str
    first: float
    last: float


def curve_line(name: str, curve) -> Line:
    """Make a line over the share of changed pixels, 0 to 1.

    Args:
        curve: a mapping with ``mean`` and, where known, ``ci_low`` and ``ci_high`` (or ``low``, ``high``), each of
            T numbers or None; a plain sequence of T numbers; or an array (n, T) of one curve per pair, whose band is
            then +- 1.96 standard errors of the mean, from ten curves on.
    """
    if isinstance(curve, Mapping):
        low, high = (curve.get(f"ci_{key}", curve.get(key)) for key in ("low", "high"))
        mean = curve["mean"]
    else:
        values = np.asarray(curve, float)
        mean, low, high = values, None, None
        if values.ndim == 2:
            values = values[~np.isnan(values).any(1)]
            if not len(values):
                raise InputError(f"{name}: no curve without undefined values")
            mean = values.mean(0)
            if len(values) >= FEW:
                error = 1.96 * values.std(0, ddof=1) / math.sqrt(len(values))
                low, high = mean - error, mean + error
    mean = np.asarray(mean, float)
    if mean.ndim != 1 or len(mean) < 2:
        raise InputError(f"{name}: a curve needs two points or more, not the shape {mean.shape}")
    low, high = (None if bound is None else np.asarray(bound, float) for bound in (low, high))
    return Line(name, np.linspace(0, 1, len(mean)), mean, low, high)


def has_band(line: Line) -> bool:
    """Tell whether there is a band to draw."""
    return any(bound is not None and bool(np.isfinite(bound).any()) for bound in (line.low, line.high))


def of_few(evaluation) -> bool:
    """Tell whether an evaluation is of fewer images than any interval or band can be had of."""
    return len(evaluation.pairs.positions.unique()) < FEW


def shown_curves(evaluation) -> dict[str, dict[str, dict]]:
    """Give an evaluation's curves as they are drawn: the bands that files of before have of too few images are none."""
    few = of_few(evaluation)
    return {
        name: {metric: {"mean": curve["mean"]} if few else curve for metric, curve in of.items()}
        for name, of in evaluation.curves.items()
    }


def curve_lines(curves: Mapping[str, Mapping[str, object]]) -> dict[str, list[Line]]:
    """Turn ``Evaluation.curves`` (localizer to metric to curve) into metric to the lines of all localizers."""
    panels: dict[str, list[Line]] = {}
    for localizer, by_metric in curves.items():
        for metric, curve in by_metric.items():
            panels.setdefault(metric, []).append(curve_line(localizer, curve))
    return panels


def training_lines(log: Sequence[Mapping], keys: Sequence[str]) -> tuple[list[Line], list[Stage], list[Stage]]:
    """Make lines over all epochs of a run, in the order of the log.

    Returns:
        lines: one per key that occurs in the log, NaN where a row lacks it.
        stages: runs of epochs of the same stage.
        events: rows that are no epochs (a projection), at the end of the epoch before, those of one place together;
            measurements of the test accuracy are none.
    """
    epoch, rows = 0, []
    stages: list = []
    events: list = []
    for row in log:
        name = stage_label(str(row.get("stage", "training")))
        if not row.get("epoch"):
            place = epoch + 0.5
            if "epoch" in row or "test_accuracy" in row:  # a stage that was skipped, a measurement
                continue
            if events and events[-1].first == place:
                events[-1] = Stage(f"{events[-1].name}, {name}", place, place)
            else:
                events.append(Stage(name, place, place))
            continue
        epoch += 1
        rows.append(row)
        follows = stages and stages[-1].name == name and not (events and events[-1].first == epoch - 0.5)
        if follows:
            stages[-1] = stages[-1]._replace(last=epoch)
        else:
            stages.append(Stage(name, epoch, epoch))
    lines = []
    for key in keys:
        values = np.array([row[key] if _finite(row.get(key)) else np.nan for row in rows], float)
        if np.isfinite(values).any():
            lines.append(Line(key, np.arange(1, epoch + 1), values))
    return lines, stages, events


def stage_label(name: str) -> str:
    return STAGES.get(name, name.replace("_", " "))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Choose round numbers within [low, high], about ``wanted`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def extent(lines: Sequence[Line], *, floor: float | None = None, ceiling: float | None = None) -> tuple[float, float]:
    """Find the least and greatest value of lines and bands with some air, widened to ``floor`` and ``ceiling``."""
    values = [bound for line in lines for bound in (line.y, line.low, line.high) if bound is not None]
    flat = np.concatenate(values) if values else np.array([0.0, 1.0])
    flat = flat[np.isfinite(flat)]
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 1.0)
    air = 0.04 * (high - low) or 0.05 * max(abs(high), 1e-3)
    low = floor if floor is not None and low >= floor else low - air
    high = ceiling if ceiling is not None and high <= ceiling else high + air
    return low, high


def stagger_labels(labels: Sequence[tuple[float, float]], low: float, high: float) -> list[tuple[float, int]]:
    """Place labels of (centre, width) at (centre, row), in order of their centres, so that none overlaps another.

    Centres are moved where a label would reach beyond ``low`` or ``high``.
    """
    ends: list[float] = []
    places = []
    for centre, width in labels:
        centre = max(min(centre, high - width / 2), low + width / 2)
        row = next((index for index, end in enumerate(ends) if centre - width / 2 >= end), len(ends))
        ends[row : row + 1] = [centre + width / 2]
        places.append((centre, row))
    return places


def _finite(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
