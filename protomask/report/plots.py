"""Line figures: insertion and deletion curves with bands, and the course of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from protomask.errors import InputError
from protomask.report import style
from protomask.report.fitting import text_width
from protomask.report.fonts import FONT, drawable, families
from protomask.report.palette import look
from protomask.report.series import (
    ACCURACIES,
    Line,
    Stage,
    curve_lines,
    extent,
    has_band,
    stagger_labels,
    training_lines,
    training_panels,
)
from protomask.report.wording import localizer_label, metric_label

_GOOD = {"insertion": "higher is better", "deletion": "lower is better"}
_KEYS = {"train_accuracy": ("training", "#0067a5", "-"), "validation_accuracy": ("validation", "#c34a00", "--")}


@style.styled
def curves(curves: Mapping[str, Mapping[str, object]], *, band: str = "95 % interval of the mean") -> Figure:
    """Draw insertion and deletion curves (or others over the share of changed pixels), one panel each.

    Args:
        curves: localizer to metric to curve, as ``Evaluation.curves`` holds them; see
            :func:`protomask.report.series.curve_line` for what a curve may be.
        band: what the bands are, said below the panels where there are any.
    """
    panels = curve_lines(curves)
    if not panels:
        raise InputError("there are no curves to draw; evaluate insertion or deletion first")
    width, plot = 3.3, 2.35
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    figure = style.new_figure(width * len(panels) + 0.2, plot + 1.35)
    for column, (metric, lines) in enumerate(panels.items()):
        axes = style.place(figure, 0.62 + column * width, 0.42, width - 0.75, plot)
        for line in lines:
            _draw(axes, line, 100 * line.x)
        note = f" ({_GOOD[metric]})" if metric in _GOOD else ""
        title = drawable(f"{metric_label(metric)}{note}")
        axes.set_title(title, loc="left", fontweight="bold", fontfamily=families(title))
        shown = {"insertion": "pixels restored", "deletion": "pixels removed"}.get(metric, "pixels changed")
        axes.set(xlim=(0, 100), ylim=extent(lines, floor=0.0), xlabel=f"{shown} (%)")
        axes.set_ylabel("similarity, share of the whole image's" if column == 0 else "")
        axes.grid(color=style.RULE, linewidth=0.5, alpha=0.6)
    handles = [
        axes.plot([], [], color=look(name).line, dashes=look(name).dashes or (None, None), linewidth=1.6)[0]
        for name in names
    ]
    figure.legend(
        handles,
        [drawable(localizer_label(name), [FONT]) for name in names],
        loc="lower left",
        ncols=min(len(names), 2 * len(panels)),
        bbox_to_anchor=(0.02, 0.055),
        handlelength=2.6,
        fontsize=8,
    )
    if any(has_band(line) for lines in panels.values() for line in lines):
        style.write(figure, 0.12, plot + 1.21, f"Bands: {band}.", fontsize=7, color=style.QUIET)
    return figure


@style.styled
def training_curves(log: Sequence[Mapping], findings: bool = False) -> Figure:
    """Draw accuracy and loss over the epochs of all stages, stage by stage; projections as vertical lines.

    Args:
        log: rows of a run's ``log.jsonl``.
        findings: whether an image may have several: then the accuracy is the share of right answers over all of them.
    """
    panels = []
    for keys, title in training_panels(findings):
        lines, stages, events = training_lines(log, keys)
        if lines:
            panels.append((keys == ACCURACIES, title, lines, stages, events))
    if not panels:
        raise InputError("the log has no row with an accuracy or a loss; train first")
    width, plot, header = 3.7, 2.1, 0.8
    figure = style.new_figure(width * len(panels) + 0.1, header + plot + 0.55)
    for column, (accuracy, title, lines, stages, events) in enumerate(panels):
        axes = style.place(figure, 0.58 + column * width, header, width - 0.72, plot)
        for line in lines:
            label, color, dash = _KEYS.get(line.name, (line.name, "#0067a5", "-"))
            axes.plot(
                line.x,
                line.y,
                dash,
                color=color,
                linewidth=1.6,
                label=label,
                marker="o",
                markersize=3 if len(line.x) < 25 else 0,
            )
        last = stages[-1].last
        axes.set(
            xlim=(0.5, last + 0.5),
            ylim=extent(lines, floor=0.0, ceiling=1.0 if accuracy else None),
            xlabel="epoch of the whole run",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if accuracy:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.grid(axis="y", color=style.RULE, linewidth=0.5, alpha=0.6)
        style.write(figure, 0.58 + column * width, 0.12, title, fontsize=9.5, fontweight="bold")
        _stages(figure, axes, stages, events, last, width - 0.72)
        if len(lines) > 1:
            axes.legend(loc="lower right", fontsize=7.5)
    return figure


def _draw(axes: Axes, line: Line, x) -> None:
    color, _, dashes = look(line.name)
    if line.low is not None and line.high is not None:
        axes.fill_between(x, line.low, line.high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, line.y, color=color, dashes=dashes or (None, None), linewidth=1.6)


def _stages(
    figure: Figure, axes: Axes, stages: Sequence[Stage], events: Sequence[Stage], last: float, width: float
) -> None:
    """Shade every other stage and name all of them above the panel, in as many rows as they need."""
    labels = []
    for number, stage in enumerate(stages):
        if number % 2:
            axes.axvspan(stage.first - 0.5, stage.last + 0.5, color=style.RULE, alpha=0.35, linewidth=0)
        labels.append(((stage.first + stage.last) / 2, stage.name))
    for event in events:
        axes.axvline(event.first, color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 1.5)))
        labels.append((event.first, event.name))
    labels.sort()
    if len(labels) > 12:  # a schedule that alternates many times: the shading alone tells it
        return
    per_epoch = width / last
    # In inches from the left edge of the panel, which stands for epoch 0.5.
    wanted = [((x - 0.5) * per_epoch, text_width(figure, text, 7) + 0.12) for x, text in labels]
    for (_, text), (centre, row) in zip(labels, stagger_labels(wanted, 0, width)):
        x = centre / per_epoch + 0.5
        axes.annotate(
            drawable(text),
            (x, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3 + 9 * row),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            fontfamily=families(drawable(text)),
            color=style.QUIET,
            annotation_clip=False,
        )
