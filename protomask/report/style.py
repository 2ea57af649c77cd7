"""What the matplotlib figures share: fonts, image tiles, text that fits, saving."""

from __future__ import annotations

import textwrap
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from protomask.errors import InputError
from protomask.files import write_atomically
from protomask.own_pictures import SIGNED
from protomask.report.evidence import dimmed, find_evidence
from protomask.report.fitting import fitted
from protomask.report.fonts import FONT, drawable, families, weight_for
from protomask.report.palette import COLORMAP, look

INK, QUIET, RULE = "#1a1f24", "#5b6670", "#c9d0d6"
RIGHT, WRONG = "#0b6e4f", "#b3261e"


def settings() -> dict:
    return {
        "font.family": [FONT],
        "font.size": 8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": QUIET,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 8.5,
        "legend.frameon": False,
        "text.parse_math": False,
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
    }


def styled(function):
    """Run a drawing function under the report's settings and leave the caller's as they were."""

    @wraps(function)
    def call(*args, **kwargs):
        with matplotlib.rc_context(settings()):
            return function(*args, **kwargs)

    return call


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of inches that belongs to no pyplot state."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 200) -> Path:
    """Write a figure in the format of the path's suffix (.svg and .pdf keep outlines as vectors; .png, .jpg)."""
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(
            f"{path}: cannot draw into a file of this type; end its name in one of .{', .'.join(sorted(known))}"
        )
    ending = path.suffix[1:].lower()
    signed: Any = {"metadata": SIGNED} if ending == "png" else {}  # not every format takes any
    with matplotlib.rc_context(settings()):
        write_atomically(path, lambda file: figure.savefig(file, dpi=dpi, format=ending, **signed))
    return path


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at inches from the upper left corner of the figure."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes(
        (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    )


def write(
    figure: Figure, left: float, top: float, text: str, *, within: float | None = None, lines: int = 1, **options
):
    """Write text whose upper left corner (or another, by ``ha`` and ``va``) is at inches from the figure's.

    Text wider than ``within`` inches is drawn smaller, and broken where that leaves it larger; it stays as high as
    ``lines`` lines of the size that was asked for. Letters that ``FONT`` lacks come from other installed fonts.
    """
    width, height = figure.get_size_inches()
    options = {"ha": "left", "va": "top", "fontsize": 8, **options}
    text = drawable(text if within is None else text.replace("\n", " "))
    options["fontweight"] = weight_for(text, options.get("fontweight", "normal"))
    if within is not None:
        text, options["fontsize"] = fitted(figure, text, options["fontsize"], within, options["fontweight"], lines)
    return figure.text(left / width, 1 - top / height, text, fontfamily=families(text), **options)


def tile(
    axes: Axes,
    image: np.ndarray,
    *,
    saliency: np.ndarray | None = None,
    localizer: str = "mdm",
    box=None,
    overlay: float = 0.0,
    level: float | None = None,
    dim: bool = False,
    border: str = RULE,
    nothing_to_keep: bool = False,
    size: tuple[int, int] | None = None,
) -> None:
    """Draw an image; over it a map with opacity ``overlay``, the outline of its evidence at ``level``, and a box.

    With ``dim`` what is not outlined is darker. A map without compact evidence says so in place of an outline, and
    one of a score no higher than an empty image's (``nothing_to_keep``), too. ``size`` is the picture's own (H, W)
    where ``image`` is a larger or smaller copy of it.

    Coordinates are corners, so that outlines and end-exclusive boxes lie on the pixels that they mean.
    """
    height, width = image.shape[:2] if size is None else size
    extent = (0, width, height, 0)
    found = (
        None
        if saliency is None or level is None
        else find_evidence(saliency, level, (height, width), nothing_to_keep=nothing_to_keep)
    )
    if dim and found is not None:
        image = dimmed(image, found)
    axes.imshow(image, extent=extent, interpolation="lanczos" if image.shape[0] > 64 else "nearest")
    if saliency is not None and overlay > 0:
        axes.imshow(
            saliency,
            extent=extent,
            cmap=COLORMAP,
            alpha=overlay,
            vmin=0,
            vmax=max(float(np.max(saliency)), 1e-6),
            interpolation="bilinear",
        )
    color = look(localizer).bright
    if found is not None:
        if not found.compact:
            _say_absence(axes, found.absence)
        for number, path in enumerate(found.outlines):
            (line,) = axes.plot(
                path[:, 0],
                path[:, 1],
                color=color,
                linewidth=1.15,
                solid_joinstyle="round",
                zorder=3,
                label="outline" if number == 0 else None,
            )
            line.set_path_effects(
                [patheffects.Stroke(linewidth=2.4, foreground="black", alpha=0.75), patheffects.Normal()]
            )
    if box is not None:
        x0, y0, x1, y1 = box
        axes.add_patch(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor="white",
                linewidth=0.8,
                linestyle=(0, (3, 2)),
                zorder=4,
                path_effects=[patheffects.Stroke(linewidth=1.8, foreground="black", alpha=0.6), patheffects.Normal()],
            )
        )
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=border, linewidth=0.6)


def _say_absence(axes: Axes, words: str) -> None:
    room = axes.get_window_extent().width / axes.figure.dpi
    axes.text(
        0.5,
        0.03,
        textwrap.fill(words, max(12, int(room / 0.042))),  # letters of this size that fit beside each other
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        fontsize=5.5,
        color="white",
        bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.2},
    )
