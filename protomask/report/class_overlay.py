"""A photograph with a class's map over it, as a picture of its own."""

from __future__ import annotations

import io

import numpy as np

from protomask.report import style
from protomask.report.evidence import find_evidence, fit_map
from protomask.report.overlays import LEVEL


def outlined_box(saliency: np.ndarray, size: tuple[int, int]) -> list[int] | None:
    """Find x0, y0, x1, y1 in pixels of the picture (H, W), end-exclusive, around what the overlay outlines, or None."""
    box = find_evidence(saliency).box
    if box is None:
        return None
    down, right = size[0] / saliency.shape[0], size[1] / saliency.shape[1]
    left, top, far, bottom = box
    return [int(left * right), int(top * down), int(np.ceil(far * right)), int(np.ceil(bottom * down))]


@style.styled
def overlay_png(
    pixels: np.ndarray,
    saliency: np.ndarray,
    localizer: str,
    *,
    longest: int | None = 1024,
    caption: str | None = None,
    outlined: bool = True,
) -> bytes:
    """Draw a map and its outline over a photograph; the bytes of a PNG.

    Args:
        pixels: (H, W, 3) uint8, or floats in [0, 1].
        saliency: (h, w) in [0, 1], stretched over the photograph.
        localizer: whose colour the outline has.
        longest: pixels of the longer side at most; None: as large as the photograph.
        caption: written along the lower edge.
        outlined: false where the score is no higher than an empty image's: there is nothing to outline.
    """
    from PIL import Image

    from protomask.inputs import as_pixels

    picture = Image.fromarray(as_pixels(pixels))
    if longest is not None:
        picture.thumbnail((longest, longest))
    width, height = picture.size
    large = fit_map(saliency, (height, width))
    figure = style.new_figure(width / 100, height / 100)
    axes = style.place(figure, 0, 0, width / 100, height / 100)
    level = LEVEL if outlined else None
    style.tile(axes, np.asarray(picture), saliency=large, localizer=localizer, overlay=0.5, level=level, dim=True)
    if caption:
        size = max(6.0, min(width, height) / 100 * 72 * 0.04)
        box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
        options = {"fontsize": size, "color": "white", "va": "bottom", "bbox": box}
        left, low = 0.02 * width / 100, 0.98 * height / 100
        style.write(figure, left, low, caption, within=0.94 * width / 100, lines=2, **options)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
