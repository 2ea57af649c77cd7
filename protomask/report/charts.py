"""Line charts and intervals for the page: numbers to pixels here, drawn by the template as SVG.

Drawn by hand rather than by matplotlib, so that they take the page's fonts and colours, dark and light, need no ids,
which could collide, and stay a few kilobytes small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protomask.report.palette import Look, look
from protomask.report.series import (
    ACCURACIES,
    Line,
    curve_lines,
    extent,
    stagger_labels,
    ticks,
    training_lines,
    training_panels,
)
from protomask.report.wording import localizer_label, metric_label, number

WIDTH, HEIGHT = 460, 250
_LEFT, _RIGHT, _BOTTOM = 46, 12, 40
_LETTER = 7.0
"""estimated mean width of a letter at the charts' 13 px (on phones, which shrink the whole chart)"""

_TRAINING = {
    "train_accuracy": ("training", look("mdm")),
    "validation_accuracy": ("validation", look("similarity")),
    "loss": ("training loss", look("mdm")),
}


def curve_charts(curves: Mapping[str, Mapping[str, object]]) -> list[dict]:
    """Make one chart per metric of ``Evaluation.curves``."""
    charts = []
    for metric, lines in curve_lines(curves).items():
        verb = {"insertion": "restored", "deletion": "removed"}.get(metric, "changed")
        goal = {"insertion": ", higher is better", "deletion": ", lower is better"}.get(metric, "")
        half = "; ".join(
            f"{localizer_label(line.name)} {number(float(np.interp(0.25, line.x, line.y)))}" for line in lines
        )
        charts.append(
            _chart(
                metric_label(metric) + goal,
                [(line, localizer_label(line.name), look(line.name)) for line in lines],
                x_range=(0.0, 1.0),
                y_range=extent(lines, floor=0.0),
                x_label=f"pixels {verb}",
                x_text=lambda value: f"{100 * value:.0f} %",
                y_text=lambda value: f"{value:.2g}",
                alt=f"{metric_label(metric)} curves{goal}. Share of the similarity left with "
                f"a quarter of the pixels {verb}: {half}.",
            )
        )
    return charts


def training_charts(log: Sequence[Mapping], findings: bool = False) -> list[dict]:
    """Chart accuracy and loss over all epochs; empty without a row that has either. See :func:`training_panels`."""
    charts = []
    for keys, title in training_panels(findings):
        lines, stages, events = training_lines(log, keys)
        if not lines:
            continue
        accuracy = keys == ACCURACIES
        last = stages[-1].last
        ends = "; ".join(
            f"{_TRAINING[line.name][0]} ends at {number(float(line.y[np.isfinite(line.y)][-1]))}" for line in lines
        )
        charts.append(
            _chart(
                title,
                [(line, *_TRAINING[line.name]) for line in lines],
                x_range=(0.5, last + 0.5),
                y_range=extent(lines, floor=0.0, ceiling=1.0 if accuracy else None),
                x_label="epoch of the whole run",
                x_text=lambda value: f"{value:.0f}",
                y_text=(lambda value: f"{100 * value:.0f} %") if accuracy else (lambda value: f"{value:.3g}"),
                spans=[(stage.name, stage.first - 0.5, stage.last + 0.5) for stage in stages],
                events=[(event.name, event.first) for event in events],
                whole=True,
                alt=f"{title} over {last:.0f} epochs: {ends}.",
            )
        )
    return charts


def interval_mark(
    difference: float, low: float | None, high: float | None, width: float = 240, height: float = 20
) -> dict:
    """Place a dot with its interval about zero, each row on a scale of its own; positions in pixels."""
    reach = max(abs(value) for value in (difference, low, high) if value is not None) * 1.12 or 1.0
    place = {
        key: None if value is None else round(width / 2 + value / reach * (width / 2 - 4), 1)
        for key, value in (("at", difference), ("low", low), ("high", high))
    }
    return {"width": width, "height": height, "zero": width / 2, **place}


def _chart(
    title: str,
    series: Sequence[tuple[Line, str, Look]],
    *,
    x_range,
    y_range,
    x_label: str,
    x_text,
    y_text,
    alt: str,
    spans=(),
    events=(),
    whole: bool = False,
) -> dict:
    labels = once([((first + last) / 2, name) for name, first, last in spans] + [(at, name) for name, at in events])
    x0, x1 = x_range
    across = WIDTH - _LEFT - _RIGHT
    x_of = lambda value: round(_LEFT + (value - x0) / (x1 - x0) * across, 1)  # noqa: E731
    labels = labels if len(labels) <= 12 else []  # a schedule that alternates many times: the shading alone tells it
    places = stagger_labels([(x_of(at), _LETTER * len(name) + 8) for at, name in labels], _LEFT, WIDTH - _RIGHT)
    top = 10 + 13 * (max((row for _, row in places), default=-1) + 1)
    y0, y1 = y_range
    y_of = lambda value: round(HEIGHT - _BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - _BOTTOM - top), 1)  # noqa: E731
    x_ticks = [value for value in ticks(x0, x1, 6) if not whole or float(value).is_integer()]
    return {
        "title": title,
        "alt": alt,
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": WIDTH - _RIGHT,
        "top": top,
        "bottom": HEIGHT - _BOTTOM,
        "x_label": x_label,
        "x_ticks": [(x_of(value), x_text(value)) for value in x_ticks],
        "y_ticks": [(y_of(value), y_text(value)) for value in ticks(y0, y1)],
        "lines": [
            {
                "label": label,
                "look": style,
                "path": _path(line.x, line.y, x_of, y_of),
                "dots": _lone(line.x, line.y, x_of, y_of),
                "band": _band(line, x_of, y_of),
                "dash": " ".join(f"{1.8 * length:g}" for length in style.dashes),
            }
            for line, label, style in series
        ],
        "spans": [
            (x_of(first), round(x_of(last) - x_of(first), 1))
            for number_of, (_, first, last) in enumerate(spans)
            if number_of % 2
        ],
        "events": [x_of(at) for _, at in events],
        "labels": [(round(x, 1), 10 + 13 * row, name) for (_, name), (x, row) in zip(labels, places)],
    }


def once(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Keep each name where it first occurs: a schedule that alternates is told by its shading.

    >>> once([(3, "replacement, projection"), (1, "joint"), (2, "replacement"), (4, "joint")])
    [(1, 'joint'), (2, 'replacement'), (3, 'projection')]
    """
    seen: set[str] = set()
    kept = []
    for at, text in sorted(labels):
        new = [name for name in text.split(", ") if name not in seen]
        seen.update(new)
        if new:
            kept.append((at, ", ".join(new)))
    return kept


def _path(x, y, x_of, y_of) -> str:
    """Draw a broken line: it is lifted over values that are missing."""
    parts, pen = [], False
    for a, b in zip(x, y):
        if np.isfinite(b):
            parts.append(f"{'L' if pen else 'M'}{x_of(a)} {y_of(b)}")
        pen = bool(np.isfinite(b))
    return "".join(parts)


def _lone(x, y, x_of, y_of) -> list[tuple[float, float]]:
    """Values without a neighbour, of which a line shows nothing."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    return [(x_of(x[at]), y_of(y[at])) for at in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])]


def _band(line: Line, x_of, y_of) -> str:
    if line.low is None or line.high is None:
        return ""
    known = np.isfinite(line.low) & np.isfinite(line.high)
    if known.sum() < 2:
        return ""
    there = [f"{x_of(a)} {y_of(b)}" for a, b in zip(line.x[known], line.high[known])]
    back = [f"{x_of(a)} {y_of(b)}" for a, b in zip(line.x[known][::-1], line.low[known][::-1])]
    return "M" + "L".join(there + back) + "Z"
