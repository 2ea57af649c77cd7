"""The picture of a prototype as the official ProtoPNet draws it, to compare with: known, from the authors' code.

Bicubic-upsampled similarity map, its 95th-percentile box, overlay 0.5 * image + 0.3 * jet (cfchen-duke/ProtoPNet,
``push.py``). Nothing else here uses jet: its bands look like edges that no map has.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from protomask.errors import InputError
from protomask.explanations.records import PrototypePicture
from protomask.localizers.similarity import percentile_box
from protomask.report import style
from protomask.report.evidence import find_evidence, fit_map
from protomask.report.overlays import LEVEL, crop
from protomask.report.wording import localizer_label, readable_all

_MARGIN, _GAP = 0.15, 0.06


def official_overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Compute 0.5 * image + 0.3 * jet(map scaled to [0, 1]), as (H, W, 3) uint8.

    Args:
        image: (H, W, 3) uint8.
        saliency: (h, w), the upsampled similarity map, stretched over the image.
    """
    saliency = fit_map(saliency, image.shape[:2])
    low, high = float(saliency.min()), float(saliency.max())
    scaled = (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
    heat = matplotlib.colormaps["jet"](np.uint8(255 * scaled))[..., :3]
    return np.uint8(np.round(255 * np.clip(0.5 * image / 255 + 0.3 * heat, 0, 1)))


@style.styled
def beside_official(
    pictures: Sequence[PrototypePicture],
    localizer: str = "mdm",
    *,
    level: float = LEVEL,
    tile: float = 1.05,
    title: str | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Draw prototypes as the official code does, and by a learned mask beside it.

    Overlay, box and crop beside outline, map and crop.

    Args:
        pictures: with maps of ``similarity`` and of ``localizer``.
        localizer: on the right-hand side.
        level: share of the map's maximum at which it is outlined.
        tile: side of an image in inches.
        classes: all that the network knows, so that two that are written alike are told apart.

    Raises:
        InputError: no pictures, or one without these maps.
    """
    if not pictures:
        raise InputError("a comparison needs at least one prototype picture")
    for picture in pictures:
        for name in ("similarity", localizer):
            if name not in picture.maps:
                raise InputError(
                    f"no map of localizer {name!r} for prototype {picture.record.prototype}; there are: "
                    f"{', '.join(picture.maps)}"
                )
    half, header, row = 3 * tile + 2 * _GAP, 0.85 if title else 0.6, tile + 0.28
    figure = style.new_figure(2 * _MARGIN + 2 * half + 0.3, header + row * len(pictures) + 0.1)
    if title:
        style.write(figure, _MARGIN, 0.12, title, within=2 * half, fontsize=11, fontweight="bold")
    right = _MARGIN + half + 0.3
    for left, name, words in (
        (_MARGIN, "As the official ProtoPNet draws it", "0.5 image + 0.3 jet · box of the 95th percentile · crop"),
        (right, localizer_label(localizer), f"outline at {100 * level:.0f} % of the smoothed maximum · map · crop"),
    ):
        style.write(figure, left, header - 0.43, name, within=half, fontsize=9, fontweight="bold")
        style.write(figure, left, header - 0.23, words, within=half, fontsize=7, color=style.QUIET)
    names = readable_all([*classes, *(picture.record.class_name for picture in pictures)])
    for number, picture in enumerate(pictures):
        top = header + number * row
        _official(figure, _MARGIN, top, tile, picture)
        saliency = picture.maps[localizer]
        nothing = picture.nothing_to_keep
        box = find_evidence(saliency, level, picture.image.shape[:2], nothing_to_keep=nothing).box
        style.tile(
            style.place(figure, right, top, tile, tile),
            picture.image,
            saliency=saliency,
            localizer=localizer,
            level=level,
            dim=True,
            nothing_to_keep=nothing,
        )
        style.tile(
            style.place(figure, right + tile + _GAP, top, tile, tile),
            picture.image,
            saliency=saliency,
            localizer=localizer,
            overlay=0.6,
        )
        last = style.place(figure, right + 2 * (tile + _GAP), top, tile, tile)
        if box is None:
            last.set_axis_off()
        else:
            style.tile(last, crop(picture.image, box))
        words = f"prototype {picture.record.prototype}, {names(picture.record.class_name)}"
        style.write(figure, _MARGIN, top + tile + 0.03, words, within=2 * half, lines=2, fontsize=7, color=style.QUIET)
    return figure


def _official(figure: Figure, left: float, top: float, tile: float, picture: PrototypePicture) -> None:
    box = percentile_box(fit_map(picture.maps["similarity"], picture.image.shape[:2]), 95)
    style.tile(style.place(figure, left, top, tile, tile), official_overlay(picture.image, picture.maps["similarity"]))
    style.tile(style.place(figure, left + tile + _GAP, top, tile, tile), picture.image, box=box)
    style.tile(style.place(figure, left + 2 * (tile + _GAP), top, tile, tile), crop(picture.image, box))
