"""The "this looks like that" panel: a prediction as a sum of points, each with the two places that look alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from protomask.errors import InputError
from protomask.explanations.records import Explanation, Match
from protomask.report import style
from protomask.report.answer_words import facts, heading, truth
from protomask.report.overlays import LEVEL
from protomask.report.wording import Namer, localizer_label, number, readable_all

_MARGIN, _GAP = 0.18, 0.08
_NUMBERS = (0.55, 0.26, 0.52, 0.26, 0.56)  # widths in inches: similarity, x, weight, =, points


@style.styled
def this_looks_like_that(
    explanation: Explanation, localizer: str, *, top: int | None = None, level: float = LEVEL, tile: float = 1.35
) -> Figure:
    """Draw an explanation: each line a place of the image, the prototype's place that it looks like, and its points.

    Args:
        explanation: its points and the points of the prototypes that are not shown sum to the logit; likewise those of
            its ``counter`` for the runner-up.
        localizer: whose outlines are drawn on both sides.
        top: show this many of the matches; the points of the others join "all other prototypes".
        level: share of the maximum at which a map is outlined, unless the localizer's pictures have a level of their
            own.
        tile: side of an image in inches.
    """
    matches = explanation.matches if top is None else explanation.matches[:top]
    names = readable_all(explanation.classes)
    for match in (*matches, *explanation.counter):
        for maps, where in ((match.maps, "the image"), (match.prototype.maps, "the source image")):
            if localizer not in maps:
                raise InputError(
                    f"no map of localizer {localizer!r} on {where} for prototype "
                    f"{match.prototype.record.prototype}; there are: {', '.join(maps) or 'none'}"
                )
    level = matches[0].prototype.record.levels.get(localizer, level) if matches else level
    columns = _columns(tile)
    width = columns["end"] + _MARGIN
    header, row = 1.15, tile + 0.36
    counter = 1.0 + row * len(explanation.counter) if explanation.counter else 0.22 * bool(explanation.finding)
    figure = style.new_figure(width, header + 0.26 + len(matches) * row + 1.3 + counter)
    _header(figure, explanation, names, width)
    _column_names(figure, columns, header, tile)
    top_of_row = header + 0.26
    for match in matches:
        _row(figure, match, explanation, names, localizer, level, columns, top_of_row, tile)
        top_of_row += row
    own, others = _rest(explanation, len(matches))
    terms = [(f"other prototypes of {names(explanation.subject)}", own)]
    if explanation.evidence != "positive":
        kind = "findings" if explanation.finding else "classes"
        terms += [(f"prototypes of other {kind}", others - explanation.bias)]
    if explanation.finding:
        terms += [("to begin with (bias)", explanation.bias)]
    top_of_row = _sum(figure, terms, names(explanation.subject), explanation.logit, columns, top_of_row, width)
    if explanation.counter:
        _rule(figure, top_of_row + 0.12, width)
        text = f"What speaks for {names(explanation.runner_up)} instead"
        style.write(figure, _MARGIN, top_of_row + 0.2, text, within=width - 2 * _MARGIN, fontsize=9, fontweight="bold")
        top_of_row += 0.45
        for match in explanation.counter:
            _row(figure, match, explanation, names, localizer, level, columns, top_of_row, tile)
            top_of_row += row
        rest = f"other prototypes of {names(explanation.runner_up)}"
        rest = rest if explanation.evidence == "positive" else "all other prototypes"
        terms = [(rest, explanation.counter_other_points)]
        runner_up = names(explanation.runner_up)
        _sum(figure, terms, runner_up, explanation.runner_up_logit, columns, top_of_row, width)
    note = (
        f"Outlines: {localizer_label(localizer)} at {100 * level:.0f} % of its smoothed maximum. Similarity × weight = "
        "points; numbers are rounded."
    )
    bottom = figure.get_size_inches()[1] - 0.25
    style.write(figure, _MARGIN, bottom, note, within=width - 2 * _MARGIN, fontsize=7, color=style.QUIET)
    return figure


def _rest(explanation: Explanation, shown: int) -> tuple[float, float]:
    """Points of what is not shown: prototypes of the predicted class, and all others with the bias."""
    own, others = explanation.other_own_points, explanation.other_points - explanation.other_own_points
    for match in explanation.matches[shown:]:
        if match.prototype.record.class_name == explanation.subject:
            own += match.points
        else:
            others += match.points
    return own, others


def _columns(tile: float) -> dict[str, float]:
    left = {"image": _MARGIN, "source": _MARGIN + tile + 0.62}
    at = left["source"] + tile + 0.2
    for name, width in zip(("similarity", "times", "weight", "equals", "points"), _NUMBERS):
        left[name] = at + width  # numbers are set flush right
        at += width
    left["end"] = at
    return left


def _header(figure: Figure, explanation: Explanation, names: Namer, width: float) -> None:
    room = width - 2 * _MARGIN
    title = heading(explanation, names)
    style.write(figure, _MARGIN, 0.14, title, within=room, fontsize=12, fontweight="bold")
    if explanation.right is None:
        verdict = "Not known whether it is there" if explanation.finding else "True class not known"
        color = style.QUIET
    elif explanation.right:
        words = truth(explanation, names) if explanation.finding else "this is the true class"
        verdict, color = f"Right: {words}", style.RIGHT
    else:
        words = (
            truth(explanation, names) if explanation.finding else f"the true class is {names(explanation.true_class)}"
        )
        verdict, color = f"Wrong: {words}", style.WRONG
    style.write(
        figure,
        _MARGIN,
        0.40,
        verdict,
        within=room,
        fontsize=9,
        fontweight="bold",
        color=color,
    )
    for top, text in ((0.62, explanation.name), (0.78, facts(explanation, names))):
        style.write(figure, _MARGIN, top, text, within=room, fontsize=7.5, color=style.QUIET)
    _rule(figure, 1.03, width)


def _column_names(figure: Figure, columns: dict[str, float], top: float, tile: float) -> None:
    options: dict[str, Any] = {"fontsize": 7.5, "color": style.QUIET}
    style.write(figure, columns["image"], top, "This part of the image", **options)
    style.write(figure, columns["source"], top, "That training image", **options)
    for name in ("similarity", "weight", "points"):
        style.write(figure, columns[name], top, name, ha="right", **options)


def _row(
    figure: Figure,
    match: Match,
    explanation: Explanation,
    names: Namer,
    localizer: str,
    level: float,
    columns: dict[str, float],
    top: float,
    tile: float,
) -> None:
    record = match.prototype.record
    style.tile(
        style.place(figure, columns["image"], top, tile, tile),
        explanation.image,
        saliency=match.maps[localizer],
        localizer=localizer,
        level=level,
        dim=True,
        nothing_to_keep=match.nothing_to_keep,
    )
    style.tile(
        style.place(figure, columns["source"], top, tile, tile),
        match.prototype.image,
        saliency=match.prototype.maps[localizer],
        localizer=localizer,
        level=level,
        dim=True,
        nothing_to_keep=match.prototype.nothing_to_keep,
    )
    middle = top + tile / 2
    style.write(
        figure,
        (columns["image"] + tile + columns["source"]) / 2,
        middle,
        "looks\nlike",
        ha="center",
        va="center",
        fontsize=8,
        color=style.QUIET,
    )
    for name, text in (
        ("similarity", number(match.similarity)),
        ("times", "×"),
        ("weight", number(match.weight)),
        ("equals", "="),
        ("points", number(match.points)),
    ):
        quiet = name in ("times", "equals")
        style.write(
            figure,
            columns[name] - (0.1 if quiet else 0),
            middle,
            text,
            ha="right",
            va="center",
            fontsize=10,
            color=style.QUIET if quiet else style.INK,
            fontweight="bold" if name == "points" else "normal",
        )
    caption = f"prototype {record.prototype} of {names(record.class_name)}, from {record.source.rsplit('/', 1)[-1]}"
    style.write(
        figure,
        columns["source"],
        top + tile + 0.05,
        caption,
        within=columns["end"] - columns["source"],
        lines=2,
        fontsize=7,
        color=style.QUIET,
    )


def _sum(
    figure: Figure,
    terms: Sequence[tuple[str, float]],
    class_name: str,
    logit: float,
    columns: dict[str, float],
    top: float,
    width: float,
) -> float:
    """Write the points that are not shown, a rule, and the logit of a class; returns where they end."""
    room = columns["equals"] - columns["source"]
    options: dict[str, Any] = {"ha": "right", "fontsize": 10, "fontweight": "bold"}
    for label, points in terms:
        style.write(
            figure, columns["equals"], top + 0.02, label, within=room, ha="right", fontsize=9, color=style.QUIET
        )
        style.write(figure, columns["points"], top + 0.01, number(points), **options)
        top += 0.22
    _rule(figure, top + 0.06, width, left=columns["source"])
    label = f"points for {class_name} (logit)"
    style.write(figure, columns["equals"], top + 0.15, label, within=room, ha="right", fontsize=9, fontweight="bold")
    style.write(figure, columns["points"], top + 0.14, number(logit), **options)
    return top + 0.36


def _rule(figure: Figure, top: float, width: float, left: float = _MARGIN) -> None:
    height = figure.get_size_inches()[1]
    figure.add_artist(
        Line2D([left / width, 1 - _MARGIN / width], [1 - top / height] * 2, color=style.RULE, linewidth=0.8)
    )
