"""A photograph with a class's map over it, as a picture of its own."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.figure import Figure

from protomask.own_pictures import SIGNED
from protomask.report import style
from protomask.report.evidence import find_evidence
from protomask.report.fitting import fitted
from protomask.report.fonts import drawable
from protomask.report.overlays import LEVEL

SMALL, LONGEST = 256, 1024
"""pixels that the shorter side of a small picture is enlarged to, about; and what its longer side has then at most"""
READABLE, BELOW, NARROW = 6.0, 8.0, 200
"""points of a caption's letters at least, of one below a picture at most there; pixels that it is wide at least"""
OVER = 0.2
"""share of the picture's height that a caption over it covers at most"""
_DPI, _PAD = 100, 0.04


def outlined_box(saliency: np.ndarray, size: tuple[int, int]) -> list[int] | None:
    """Find x0, y0, x1, y1 in pixels of the picture (H, W), end-exclusive, around what the overlay outlines, or None."""
    box = find_evidence(saliency, size=size).box
    return None if box is None else list(box)


@style.styled
def overlay_png(
    pixels: np.ndarray,
    saliency: np.ndarray,
    localizer: str,
    *,
    longest: int | None = LONGEST,
    caption: str | None = None,
    outlined: bool = True,
) -> bytes:
    """Draw a map and its outline over a photograph; the bytes of a PNG.

    A picture whose shorter side has less than about ``SMALL`` pixels is enlarged by a whole factor, so that outline and
    caption do not hide it.

    Args:
        pixels: (H, W, 3) uint8, or floats in [0, 1].
        saliency: (h, w) in [0, 1], stretched over the photograph.
        localizer: whose colour the outline has.
        longest: pixels of the picture's longer side at most; None: as large as the photograph, or enlarged.
        caption: written along the lower edge, or below the picture where it would cover more than ``OVER`` of it.
        outlined: false where the score is no higher than an empty image's: there is nothing to outline.
    """
    from PIL import Image

    from protomask.inputs import as_pixels

    photograph = Image.fromarray(as_pixels(pixels))
    size = (photograph.height, photograph.width)
    picture = _enlarged(photograph, longest)
    width, height = picture.width / _DPI, picture.height / _DPI
    found = find_evidence(saliency, size=size)
    if caption and outlined and not found.compact:
        caption, outlined = f"{caption} \N{EM DASH} {found.absence}", False
    figure = style.new_figure(width, height)
    below: dict = {}
    if caption:
        points, room = max(READABLE, min(width, height) * 72 * 0.04), 0.94 * width
        lines, over = _lines(figure, caption, points, room, 2)
        if over is None or over > OVER * height:
            across = max(width, min(NARROW, longest or NARROW) / _DPI)
            points, room = min(max(BELOW, points), 2 * BELOW), 0.96 * across
            lines, high = _lines(figure, caption, points, room, 4)
            below = {"left": 0.02 * across, "top": height + _PAD, "color": style.INK}
            # Whole pixels: the picture would be blurred between them.
            figure.set_size_inches(across, height + math.ceil(_DPI * ((high or 4.8 * points / 72) + 2 * _PAD)) / _DPI)
    axes = style.place(figure, 0, 0, width, height)
    level = LEVEL if outlined else None
    shown = np.asarray(picture)
    style.tile(axes, shown, saliency=saliency, localizer=localizer, overlay=0.5, level=level, dim=True, size=size)
    if caption:
        box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
        place = below or {"left": 0.02 * width, "top": 0.98 * height, "color": "white", "va": "bottom", "bbox": box}
        style.write(figure, text=caption, within=room, lines=lines, fontsize=points, **place)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata=SIGNED)
    return content.getvalue()


def _enlarged(picture, longest: int | None):
    """Shrink a PIL image to ``longest`` pixels, or enlarge a small one by a whole factor."""
    from PIL import Image

    if longest is not None:
        picture.thumbnail((longest, longest))
    factor = min(round(SMALL / min(picture.size)), (longest or LONGEST) // max(picture.size))
    if factor < 2:
        return picture
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def _lines(figure: Figure, text: str, points: float, room: float, most: int) -> tuple[int, float | None]:
    """Find in how many lines of ``points`` a text fits into ``room`` inches.

    Returns:
        The lines, and the height in inches that they take; None where its letters would be too small to be read.
    """
    text = drawable(text.replace("\n", " "))
    for lines in range(1, most + 1):
        written, size = fitted(figure, text, points, room, lines=lines)
        if size >= READABLE:
            return lines, 1.3 * (written.count("\n") + 1) * size / 72
    return most, None
