"""An evaluation as lines for a terminal: means, paired differences, verdicts, and what would decide the undecided."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from protomask.evaluation.catalogue import SHARES_OF_WHOLE
from protomask.evaluation.summaries import Number, higher_is_better, unit_of

NOTE = (
    "*: the best mean. [low, high]: 95 % interval of each mean by itself, not corrected. Who is ahead is judged by "
    "paired differences, corrected for all metrics together (Holm)."
)


def mean_table(evaluation, width: int) -> str:
    """Draw metrics down, localizers across; those that do not fit in ``width`` characters continue below."""
    found = {(row["localizer"], row["metric"]): row for row in evaluation.rows}
    metrics, localizers = evaluation.metrics, evaluation.localizers
    head = ["metric"] + [f"{metric} {'↑' if higher_is_better(metric) else '↓'}" for metric in metrics]
    columns = []
    for localizer in localizers:
        cells = [_cell(found[localizer, metric], evaluation.best(metric)) for metric in metrics]
        seconds = found[localizer, metrics[0]]["seconds_per_map"]
        columns.append(_pad([localizer, *cells, f"{seconds:.3g}  "]))
    counts = [[found[localizer, metric]["n"] for localizer in localizers] for metric in metrics]
    first = _pad([*head, "seconds per map"], left=True)
    last = _pad(["n", *map(span, counts, metrics), ""])
    room = max(1, width - len(first[0]) - len(last[0]) - 2)
    fitting = max(1, room // (max(len(column[0]) for column in columns) + 2))
    blocks = [zip(first, *columns[start : start + fitting], last) for start in range(0, len(columns), fitting)]
    texts = ["\n".join("  ".join(line).rstrip() for line in block) for block in blocks]
    notes = [*([NOTE] if len(localizers) > 1 else []), *uncounted(evaluation)]
    return "\n\n".join([*texts, *(textwrap.fill(note, width) for note in notes)])


def uncounted(evaluation) -> list[str]:
    """Say which metrics count no pair at all by any localizer, and why that may be; nothing where there is none."""
    empty = [
        metric
        for metric in evaluation.metrics
        if not any(row["n"] for row in evaluation.rows if row["metric"] == metric)
    ]
    shares = [metric for metric in empty if metric in SHARES_OF_WHOLE]
    notes = []
    if shares:
        how = ', such as probabilities: Classifier(model, score="probability")' if evaluation.of_classifier else ""
        notes.append(
            f"No pair counts (n is 0) in {', '.join(shares)}: these are shares of the score of the whole image, which "
            f"is zero or negative everywhere. Measure a score above 0{how}."
        )
    if others := [metric for metric in empty if metric not in shares]:
        notes.append(f"Undefined everywhere (n is 0): {', '.join(others)}.")
    return notes


def mean_html(evaluation) -> str:
    """Draw the same table in HTML for notebooks: the best mean of each metric in bold, seconds per map last."""
    found = {(row["localizer"], row["metric"]): row for row in evaluation.rows}
    localizers = [html.escape(name) for name in evaluation.localizers]
    lines = [["metric", *localizers, "n"]]
    for metric in evaluation.metrics:
        rows = [found[localizer, metric] for localizer in evaluation.localizers]
        arrow = "↑" if higher_is_better(metric) else "↓"
        cells = [_html_cell(row, evaluation.best(metric)) for row in rows]
        lines.append([f"{html.escape(metric)} {arrow}", *cells, span([row["n"] for row in rows], metric)])
    seconds = [found[name, evaluation.metrics[0]]["seconds_per_map"] for name in evaluation.localizers]
    lines.append(["seconds per map", *(f"{each:.3g}" for each in seconds), ""])
    head, *body = lines
    top = "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"
    rest = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in body)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in uncounted(evaluation))
    return f"<table><thead>{top}</thead><tbody>{rest}</tbody></table>{notes}"


def contest_table(contests: Sequence[dict], a: str, b: str) -> str:
    """Write a line per metric: mean(a) - mean(b), its own interval, corrected p-value, verdict, images needed."""
    lines = [["metric", f"{a} - {b}", "95 % by itself", "p (Holm)", "verdict", "images", "images needed"]]
    for row in contests:
        sign = 1 if row["a"] == a else -1
        bounds = sorted(sign * each for each in (row["ci_low"], row["ci_high"]) if each is not None)
        verdict = {a: "ahead", b: "behind"}.get(row["better"], "undecided")
        if verdict == "undecided" and row.get("better_alone", "undecided") != "undecided":
            verdict += f" ({'ahead' if row['better_alone'] == a else 'behind'} by itself)"
        chance, needed = row.get("p_corrected"), row.get("images_needed")
        lines.append(
            [
                f"{row['metric']} {'↑' if higher_is_better(row['metric']) else '↓'}",
                "-" if row["difference"] is None else f"{sign * row['difference']:+.3g}",
                f"[{bounds[0]:+.3g}, {bounds[1]:+.3g}]" if bounds else "-",
                "-" if chance is None else "< .001" if chance < 0.001 else f"{chance:.3f}".lstrip("0"),
                verdict,
                counted(row.get("images", row["n"]), row["metric"]),
                "-" if needed is None else counted(rounded(needed), row["metric"], ","),
            ]
        )
    columns = [_pad(list(column), left=place in (0, 4)) for place, column in enumerate(zip(*lines))]
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns))


def verdict_sentence(contests: Sequence[dict], a: str, b: str) -> str:
    """Say in one sentence: "a ahead of b in 5 of 6 metrics, behind in deletion; pointing_box undecided"."""
    better = {name: [each["metric"] for each in contests if each["better"] == name] for name in (a, b, "undecided")}
    sentence = f"{a} ahead of {b} in {len(better[a])} of {len(contests)} metrics"
    if better[b]:
        sentence += f", behind in {', '.join(better[b])}"
    if better["undecided"]:
        sentence += f"; {', '.join(better['undecided'])} undecided"
    return sentence


def power_sentence(contests: Sequence[dict]) -> str:
    """Say about how many images (prototypes, for a metric of these) would decide what is undecided, if its differences
    are as large as those just seen."""
    open_ = [row for row in contests if row["better"] == "undecided" and row.get("images_needed")]
    if not open_:
        return ""
    needed: dict[str, list[str]] = {}
    for row in open_:
        needed.setdefault(unit_of(row["metric"]), []).append(f"{row['metric']} about {rounded(row['images_needed']):,}")
    each = "; ".join(f"so many {unit}: {', '.join(found)}" for unit, found in needed.items())
    return f"to be decided, differences of the size just seen would need {each}"


def span(counts: Sequence[int], metric: str, dash: str = "-") -> str:
    """Write how many pairs of each localizer count: "16", "12-16", or of a metric of prototypes "30 prototypes"."""
    least, most = min(counts), max(counts)
    return f"{least}{dash}{counted(most, metric)}" if least < most else counted(most, metric)


def counted(count: int | None, metric: str, form: str = "") -> str:
    """Write how many images, or prototypes, which are named, since the column is that of images."""
    unit = unit_of(metric)
    return "-" if count is None else f"{count:{form}}" + ("" if unit == "images" else f" {unit}")


def rounded(count: int) -> int:
    """Round to two digits: no more is known."""
    return int(float(f"{count:.2g}"))


def short(value: float) -> str:
    """Give a number as tables have it: one digit after the point from 10 on, else three."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _pad(cells: list[str], left: bool = False) -> list[str]:
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _html_cell(row: dict, best: Number) -> str:
    text = html.escape(_cell(row, None).strip())
    return f"<b>{text}</b>" if best is not None and row["mean"] == best else text


def _cell(row: dict, best: Number) -> str:
    if row["mean"] is None:
        return "-  "
    interval = "" if row["ci_low"] is None else f" [{short(row['ci_low'])}, {short(row['ci_high'])}]"
    return short(row["mean"]) + interval + (" *" if row["mean"] == best else "  ")
