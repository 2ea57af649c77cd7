"""From a saliency map to what is drawn on an image: regions, outlines, colours, crops. Arrays in, arrays out.

Coordinates are pixels of the map's own grid with the *corner* of the first pixel at (0, 0), so that pixel (row 3,
column 5) covers x in [5, 6] and y in [3, 4]: the convention of SVG and of end-exclusive boxes.
"""

from __future__ import annotations

import numpy as np

from protomask.errors import InputError

LEVEL = 0.5
"""share of a map's maximum at which it is outlined"""
SPECK = 0.002
"""Outlines that enclose less than this share of the image are not drawn: specks hide the picture that they lie on."""


def region(saliency: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Select the pixels of at least ``level`` times the maximum, (H, W) bool; empty without a positive value."""
    saliency = check_map(saliency)
    top = saliency.max()
    return saliency >= level * top if top > 0 else np.zeros(saliency.shape, bool)


def outlines(
    saliency: np.ndarray, level: float = LEVEL, tolerance: float | None = None, speck: float = SPECK
) -> list[np.ndarray]:
    """Trace closed outlines of the region where the map reaches ``level`` times its maximum, but for specks.

    Interpolated between pixel centres and simplified to within ``tolerance`` pixels (by default a 560th
    of the longer side, which no eye sees); a region that touches the border
    of the image is closed along it. Islands and holes of less than ``speck`` times the image's area are left out,
    unless there is nothing larger. Returns one (N, 2) float array of x, y per outline, holes included, the longest
    first; the first point is repeated at the end.
    """
    from skimage.measure import approximate_polygon, find_contours

    saliency = check_map(saliency)
    top = saliency.max()
    if top <= 0:
        return []
    height, width = saliency.shape
    tolerance = max(height, width) / 560 if tolerance is None else tolerance
    # A rim of zeros closes what touches the border. Levels halfway between pixels would move the outline of a map of
    # zeros and ones half a pixel; that is within the width of the line.
    found = find_contours(np.pad(saliency / top, 1), level)
    paths = []
    for contour in sorted(found, key=len, reverse=True):
        contour = approximate_polygon(contour, tolerance)
        if len(contour) > 3:
            x = np.clip(contour[:, 1] - 0.5, 0, width)  # -1 for the rim, +0.5 from pixel centre to corner
            y = np.clip(contour[:, 0] - 0.5, 0, height)
            paths.append(np.stack([x, y], axis=1))
    areas = [_area(path) for path in paths]
    least = min(speck * height * width, max(areas, default=0.0))
    return [path for path, area in zip(paths, areas) if area >= least]


def _area(path: np.ndarray) -> float:
    """Compute what a closed outline encloses, in square pixels (the shoelace formula)."""
    x, y = path[:, 0], path[:, 1]
    return 0.5 * abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])))


def disagreement(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> float:
    """Compute 1 - intersection over union of two maps' outlined regions: 0 = the same pixels, 1 = none in common."""
    a, b = region(first, level), region(second, level)
    if a.shape != b.shape:
        raise InputError(f"maps of {a.shape} and {b.shape} pixels cannot be compared; bring them to one size")
    union = np.logical_or(a, b).sum()
    return 1.0 - float(np.logical_and(a, b).sum() / union) if union else 0.0


def crop(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut the pixels of ``image`` (H, W, ...) inside an end-exclusive box x0, y0, x1, y1, at least one pixel."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(round(value)) for value in box)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return image[y0 : max(min(y1, height), y0 + 1), x0 : max(min(x1, width), x0 + 1)]


def check_map(saliency: np.ndarray) -> np.ndarray:
    saliency = np.asarray(saliency, dtype=np.float32)
    if saliency.ndim != 2 or not saliency.size:
        raise InputError(f"a map has two dimensions (H, W), not the shape {saliency.shape}")
    return np.nan_to_num(saliency)
