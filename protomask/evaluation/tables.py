"""An evaluation as files to go on with: CSV for spreadsheets and pandas, Markdown for papers and issues."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence

from protomask.evaluation.catalogue import HIGHER_IS_BETTER
from protomask.evaluation.results import Evaluation
from protomask.evaluation.texts import counted, rounded, short, span, uncounted

ROWS = ("localizer", "metric", "mean", "ci_low", "ci_high", "n", "images", "seconds_per_map")
CLASS_ROWS = ("class", "localizer", "metric", "mean", "n")


def per_class(evaluation: Evaluation) -> list[dict]:
    """Give each class's mean (:data:`CLASS_ROWS`), in alphabetical order of the classes; pairs without a value do not
    count.

    Metrics of prototypes are left out: few prototypes belong to one class.
    """
    rows = []
    for name in sorted(set(evaluation.classes) - {""}):  # of no class: an index that is none of the data's
        members = [place for place, each in enumerate(evaluation.classes) if each == name]
        for localizer, metrics in evaluation.values.items():
            for metric, values in metrics.items():
                found = [value for place in members if (value := values[place]) is not None]
                mean = float(f"{sum(found) / len(found):.7g}") if found else None
                rows.append({"class": name, "localizer": localizer, "metric": metric, "mean": mean, "n": len(found)})
    return rows


def as_csv(rows: Iterable[dict], columns: Sequence[str] = ROWS) -> str:
    """Write comma-separated text with a header; what is undefined is empty.

    Text that a spreadsheet would take for a formula (``=1+1`` as a class's name) begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    """Names only: numbers stay numbers, also negative ones. A carriage return, which would end a row, is a blank."""
    if not isinstance(value, str):
        return value
    marked = f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return marked.replace("\r", " ")


def as_markdown(evaluation: Evaluation, *, classes: bool = False) -> str:
    """Give the table, the verdicts between every two localizers, and what the numbers are; per class, too, if
    ``classes``."""
    found = {(row["localizer"], row["metric"]): row for row in evaluation.rows}
    lines = [_line(["metric", *evaluation.localizers, "n"]), _line(["---"] * (len(evaluation.localizers) + 2))]
    for metric in evaluation.metrics:
        rows = [found[localizer, metric] for localizer in evaluation.localizers]
        best = evaluation.best(metric)
        cells = [f"**{_cell(row)}**" if row["mean"] is not None and row["mean"] == best else _cell(row) for row in rows]
        lines.append(_line([f"{metric} {_arrow(metric)}", *cells, span([row["n"] for row in rows], metric)]))
    seconds = [found[localizer, evaluation.metrics[0]]["seconds_per_map"] for localizer in evaluation.localizers]
    lines.append(_line(["seconds per map", *(f"{each:.3g}" for each in seconds), ""]))
    verdicts = [f"- {evaluation.verdict(a, b)}." for a, b in itertools.combinations(evaluation.localizers, 2)]
    parts = [
        "# Evaluation",
        "\n".join(lines),
        "Mean and its own 95 % interval, not corrected; an arrow says which way is better; bold: the best mean.",
        *uncounted(evaluation),
    ]
    if verdicts:
        parts.append("Paired differences, corrected for all metrics of a comparison (Holm):\n\n" + "\n".join(verdicts))
        parts.append(_differences(evaluation))
    if classes:
        parts.append("## Per class\n\n" + _class_tables(evaluation))
    return "\n\n".join(parts) + "\n"


def _differences(evaluation: Evaluation) -> str:
    """Every comparison: the difference with its own interval, the corrected p-value, the verdict, images needed."""
    lines = [["metric", "difference", "by itself", "p (Holm)", "ahead", "images", "images needed"]]
    lines.append(["---"] * len(lines[0]))
    for row in evaluation.comparisons:
        interval = "-" if row["ci_low"] is None else f"[{row['ci_low']:+.3g}, {row['ci_high']:+.3g}]"
        chance, needed = row.get("p_corrected"), row.get("images_needed")
        lines.append(
            [
                f"{row['metric']} {_arrow(row['metric'])}",
                f"{row['a']} - {row['b']}: " + ("-" if row["difference"] is None else f"{row['difference']:+.3g}"),
                interval,
                "-" if chance is None else f"{chance:.3g}",
                row["better"],
                counted(row.get("images", row["n"]), row["metric"]),
                "-" if needed is None else counted(rounded(needed), row["metric"]),
            ]
        )
    return "\n".join(map(_line, lines))


def class_table(evaluation: Evaluation, metric: str) -> str:
    """Draw one metric, classes down and localizers across, for the terminal."""
    rows = _by_class(evaluation, metric)
    lines = [
        [f"{metric} {_arrow(metric)}", *evaluation.localizers, "n"],
        *([name, *(_mean(row) for row in each), str(max(row["n"] for row in each))] for name, each in rows.items()),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
        for line in lines
    )


def _class_tables(evaluation: Evaluation) -> str:
    tables = []
    for metric in next(iter(evaluation.values.values())):
        rows = _by_class(evaluation, metric)
        tables.append(
            "\n".join(
                [
                    _line([f"{metric} {_arrow(metric)}", *evaluation.localizers, "n"]),
                    _line(["---"] * (len(evaluation.localizers) + 2)),
                    *(_line([name, *map(_mean, each), max(row["n"] for row in each)]) for name, each in rows.items()),
                ]
            )
        )
    return "\n\n".join(tables)


def _by_class(evaluation: Evaluation, metric: str) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in per_class(evaluation):
        if row["metric"] == metric:
            found.setdefault(row["class"], []).append(row)
    return found


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _mean(row: dict) -> str:
    return "-" if row["mean"] is None else short(row["mean"])


def _cell(row: dict) -> str:
    interval = "" if row["ci_low"] is None else f" [{short(row['ci_low'])}, {short(row['ci_high'])}]"
    return _mean(row) + interval


def _arrow(metric: str) -> str:
    return "↑" if HIGHER_IS_BETTER.get(metric, True) else "↓"
