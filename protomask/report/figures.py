"""Galleries of prototypes and comparisons of localizers, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from protomask.errors import InputError
from protomask.explanations.records import PrototypePicture
from protomask.report import style
from protomask.report.evidence import find_evidence
from protomask.report.fitting import text_width
from protomask.report.overlays import LEVEL, crop
from protomask.report.wording import localizer_label, number, percent, readable, readable_all

_MARGIN, _GAP = 0.15, 0.06


@style.styled
def prototype_gallery(
    pictures: Sequence[PrototypePicture],
    localizer: str,
    *,
    level: float = LEVEL,
    per_row: int = 2,
    tile: float = 1.05,
    title: str | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Draw every prototype by class: source image with outline and box, the map over it, the crop of the box.

    Args:
        pictures: of any number of classes; classes keep the order of their first picture.
        localizer: whose map, outline and box are drawn.
        level: share of the map's maximum at which it is outlined, unless the localizer's pictures have a level of their
            own.
        per_row: prototypes beside each other.
        tile: side of an image in inches.
        classes: all that the network knows, so that two that are written alike are told apart.
    """
    if not pictures:
        raise InputError("a gallery needs at least one prototype picture")
    groups: dict[str, list[PrototypePicture]] = {}
    for picture in pictures:
        _need(picture.maps, localizer, f"prototype {picture.record.prototype}")
        groups.setdefault(picture.record.class_name, []).append(picture)

    cell = 3 * tile + 2 * _GAP
    width = 2 * _MARGIN + per_row * cell + (per_row - 1) * 0.3
    header, heading, row = 0.62, 0.34, tile + (0.42 if any(picture.inspection for picture in pictures) else 0.31)
    rows = sum(-(-len(group) // per_row) for group in groups.values())
    figure = style.new_figure(width, header + heading * len(groups) + row * rows + 0.1)
    level = pictures[0].record.levels.get(localizer, level)
    _gallery_header(figure, title or "Prototypes", localizer, level, width)

    top = header
    names = readable_all([*classes, *groups])
    for name, group in groups.items():
        style.write(
            figure, _MARGIN, top + 0.06, names(name), within=width - 2 * _MARGIN, fontsize=9.5, fontweight="bold"
        )
        top += heading
        for index, picture in enumerate(group):
            if index and index % per_row == 0:
                top += row
            _gallery_cell(figure, _MARGIN + (index % per_row) * (cell + 0.3), top, tile, picture, localizer, level)
        top += row
    return figure


def _gallery_header(figure: Figure, title: str, localizer: str, level: float, width: float) -> None:
    style.write(figure, _MARGIN, 0.12, title, within=width - 2 * _MARGIN, fontsize=12, fontweight="bold")
    legend = (
        f"{localizer_label(localizer)}: outline at {100 * level:.0f} % of the smoothed map's maximum; dashed: its box. "
        "Each: source image · map · crop of the box."
    )
    style.write(figure, _MARGIN, 0.37, legend, within=width - 2 * _MARGIN, fontsize=7.5, color=style.QUIET)


def _gallery_cell(
    figure: Figure, left: float, top: float, tile: float, picture: PrototypePicture, localizer: str, level: float
) -> None:
    record, saliency, nothing = picture.record, picture.maps[localizer], picture.nothing_to_keep
    box = find_evidence(saliency, level, picture.image.shape[:2], nothing_to_keep=nothing).box
    options: dict[str, Any] = {"saliency": saliency, "localizer": localizer}
    for column in range(3):
        axes = style.place(figure, left + column * (tile + _GAP), top, tile, tile)
        if column == 0:
            style.tile(axes, picture.image, **options, level=level, box=box, dim=True, nothing_to_keep=nothing)
        elif column == 1:
            style.tile(axes, picture.image, **options, overlay=0.6)
        elif box is not None:
            style.tile(axes, crop(picture.image, box))
        else:
            axes.set_axis_off()
    caption = f"prototype {record.prototype} · weight {number(record.weight)}"
    style.write(figure, left, top + tile + 0.04, caption, fontsize=7.5)
    words = _inspected(picture)
    room = 3 * tile + 2 * _GAP
    style.write(figure, left, top + tile + 0.17, words, within=room, fontsize=6.5, color=style.QUIET)
    used = text_width(figure, caption, 7.5) + 0.1
    room = 3 * tile + 2 * _GAP - used
    if room > 0.6:
        name = record.source if text_width(figure, record.source, 6.5) < room else record.source.rsplit("/", 1)[-1]
        style.write(figure, left + used, top + tile + 0.04, name, within=room, fontsize=6.5, color=style.QUIET)


def _inspected(picture: PrototypePicture) -> str:
    """Say what the inspection found, short enough for a caption."""
    found = picture.inspection
    if found is None:
        return ""
    words = [] if found.activated is None else [f"found in {found.activated} of {found.images} test images"]
    words += [] if found.purity is None else [f"purity of the {found.ranked} nearest {percent(found.purity, 0)}"]
    return " · ".join([*words, *found.flags])


@style.styled
def localizer_comparison(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    prototype: PrototypePicture | None = None,
    level: float = LEVEL,
    tile: float = 1.5,
    title: str | None = None,
    nothing_to_keep: bool = False,
) -> Figure:
    """Draw what several localizers show for the same image and prototype, side by side.

    Args:
        image: (H, W, 3) uint8, the test image.
        maps: localizer name to its (H, W) map on that image, in [0, 1]; drawn in this order.
        prototype: where given, a first row shows its source image and the same localizers there.
        level: share of the map's maximum at which it is outlined.
        tile: side of an image in inches.
        nothing_to_keep: whether the score in the image is no higher than an empty image's, so that nothing is outlined;
            as :attr:`protomask.explanations.Match.nothing_to_keep` says.
    """
    if not maps:
        raise InputError("a comparison needs at least one map")
    levels = prototype.record.levels if prototype is not None else {}
    rows, nothing = [("test\nimage", image, maps)], [nothing_to_keep]
    if prototype is not None:
        rows.insert(0, ("source\nof the\nprototype", prototype.image, prototype.maps))
        nothing.insert(0, prototype.nothing_to_keep)
    if title is None and prototype is not None:
        title = f"Prototype {prototype.record.prototype}, {readable(prototype.record.class_name)}"
    return _grid(rows, list(maps), levels, level, tile, title, nothing)


@style.styled
def localizer_grid(
    rows: Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]],
    *,
    levels: Mapping[str, float] | None = None,
    level: float = LEVEL,
    tile: float = 1.2,
    title: str | None = None,
    nothing_to_keep: Sequence[bool] = (),
) -> Figure:
    """Draw many images under each other, what every localizer shows of them beside each other.

    Args:
        rows: label, (H, W, 3) uint8 image, and localizer name to (H, W) map in [0, 1]; columns keep the order in which
            the localizers first appear.
        levels: of single localizers, in place of ``level``.
        level: share of the map's maximum at which it is outlined.
        tile: side of an image in inches.
        nothing_to_keep: for each row, whether its score is no higher than an empty image's, so that nothing is
            outlined; by default of none.
    """
    if nothing_to_keep and len(nothing_to_keep) != len(rows):
        raise InputError(f"nothing_to_keep is of {len(nothing_to_keep)} rows, but there are {len(rows)}; give one each")
    rows = [(label.replace("\n", " "), picture, maps) for label, picture, maps in rows]
    names = list(dict.fromkeys(name for _, _, maps in rows for name in maps))
    if not names:
        raise InputError("a grid needs at least one map")
    return _grid(rows, names, levels or {}, level, tile, title, nothing_to_keep or [False] * len(rows))


def _grid(
    rows: Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]],
    names: Sequence[str],
    levels: Mapping[str, float],
    level: float,
    tile: float,
    title: str | None,
    nothing: Sequence[bool],
) -> Figure:
    side = 0.55 if all("\n" in label for label, _, _ in rows) else 0.95  # room for the names of the rows
    width = 2 * _MARGIN + side + (1 + len(names)) * (tile + _GAP) - _GAP
    header = 0.5 if title else 0.12
    figure = style.new_figure(width, header + 0.24 + len(rows) * (tile + _GAP) + 0.36)
    if title:
        style.write(figure, _MARGIN, 0.14, title, within=width - 2 * _MARGIN, fontsize=10.5, fontweight="bold")
    for column, name in enumerate([None, *names]):
        left = _MARGIN + side + column * (tile + _GAP)
        words = "Image" if name is None else localizer_label(name)
        options: dict[str, Any] = {"ha": "center", "fontsize": 8.5, "fontweight": "bold"}
        style.write(figure, left + tile / 2, header, words, within=tile, **options)
        for number_of, (label, picture, maps) in enumerate(rows):
            top = header + 0.24 + number_of * (tile + _GAP)
            axes = style.place(figure, left, top, tile, tile)
            if name is None:
                options = {"va": "center", "fontsize": 7, "color": style.QUIET, "linespacing": 1.3}
                style.write(figure, _MARGIN, top + tile / 2, label, within=side - 0.08, lines=6, **options)
                style.tile(axes, picture)
            elif name in maps:
                options = {"overlay": 0.5, "level": levels.get(name, level), "nothing_to_keep": nothing[number_of]}
                style.tile(axes, picture, saliency=maps[name], localizer=name, **options)
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "no map", transform=axes.transAxes, ha="center", va="center", color=style.QUIET)
    bottom = header + 0.24 + len(rows) * (tile + _GAP) + 0.03
    others = "".join(f" ({localizer_label(name)}: {100 * own:.0f} %)" for name, own in levels.items() if name in names)
    note = (
        f"Map over the image (dark: low, light: high); outline at {100 * level:.0f} % of the smoothed map's "
        f"maximum{others}."
    )
    style.write(figure, _MARGIN, bottom, note, within=width - 2 * _MARGIN, fontsize=7, color=style.QUIET)
    return figure


def _need(maps: Mapping[str, np.ndarray], localizer: str, where: str) -> None:
    if localizer not in maps:
        raise InputError(f"no map of localizer {localizer!r} for {where}; there are: {', '.join(maps) or 'none'}")
