"""What is drawn of a map on a photograph: the few regions that hold most of it, the same ones everywhere.

For display alone: no metric, no localizer and no file of maps goes through here. A learned mask may be a scatter of
specks; outlined as it is, it hides the picture. So it is smoothed a little, cut at its level, and the few largest
regions that hold most of what was cut out are drawn. Where no few regions do, nothing is drawn, and that is said.

All of it happens on the map's own grid, smoothed in the picture's proportions: how many pixels a picture is drawn with
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from protomask.errors import NOTHING_TO_KEEP
from protomask.report.overlays import LEVEL, SPECK, check_map, outlines

SMOOTHING, FARTHEST = 0.012, 0.25
"""standard deviation of the smoothing, as a share of the picture's longer side; at most as a share of either side"""
REGIONS, MOST = 3, 0.8
"""at most so many regions are drawn, and no further ones once they hold this share of what reaches the level"""
COMPACT, LEAST = 0.5, 0.1
"""shares of what reaches the level, and of the whole map, that they must hold to be drawn at all"""
WIDE = 0.75
"""share of the image above which a region singles nothing out"""
NOT_COMPACT = "no compact evidence"


@dataclass(frozen=True, eq=False)
class Evidence:
    """The part of an image that a map marks, for display."""

    marked: np.ndarray
    """(h, w) bool on the map's own grid; empty where there is no compact evidence"""
    share: float
    """of the sum of the map that lies in the region, in [0, 1]"""
    outlines: list[np.ndarray]
    """closed (N, 2) arrays of x, y in pixels of the picture, see :func:`protomask.report.overlays.outlines`"""
    size: tuple[int, int]
    """(H, W) of the picture"""
    absence: str = NOT_COMPACT
    """why there are none, where there are none"""

    @property
    def compact(self) -> bool:
        return bool(self.marked.any())

    @cached_property
    def region(self) -> np.ndarray:
        """(H, W) bool, what is marked in pixels of the picture."""
        return self.region_at(self.size)

    def region_at(self, size: tuple[int, int]) -> np.ndarray:
        """Give what is marked in pixels of a copy of the picture of another (H, W); of compact evidence one at least.

        Returns:
            (H, W) bool.
        """
        if not self.compact or self.marked.shape == tuple(size):
            return self.marked if self.compact else np.zeros(size, bool)
        large = fit_map(self.marked, size)
        return large >= min(0.5, float(large.max()))

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 around the region in pixels of the picture, end-exclusive; None without compact evidence."""
        if not self.compact:
            return None
        (height, width), (down, across) = self.size, self.marked.shape
        rows, columns = np.nonzero(self.marked)
        left, top, right, bottom = (int(each) for each in (columns.min(), rows.min(), columns.max(), rows.max()))
        return (
            left * width // across,
            top * height // down,
            -(-(right + 1) * width // across),
            -(-(bottom + 1) * height // down),
        )


def find_evidence(
    saliency: np.ndarray,
    level: float = LEVEL,
    size: tuple[int, int] | None = None,
    nothing_to_keep: bool = False,
) -> Evidence:
    """Find what to draw of a map (h, w).

    Args:
        saliency: at least 0.
        level: share of the smoothed map's maximum from which a pixel is marked.
        size: (H, W) of the picture that it is stretched over; the map's own by default.
        nothing_to_keep: whether the score that the map is of is no higher than an empty image's; nothing is drawn then,
            whatever the map.
    """
    from scipy import ndimage

    saliency = check_map(saliency)
    height, width = size = saliency.shape if size is None else (int(size[0]), int(size[1]))
    nothing = Evidence(np.zeros(saliency.shape, bool), 0.0, [], size)
    if nothing_to_keep:
        return replace(nothing, absence=NOTHING_TO_KEEP)
    # As far down as across in the picture, though the map is squashed. Farther than FARTHEST the copies of a thin
    # picture's edges would outweigh the map.
    reach = [
        cells * min(FARTHEST, SMOOTHING * max(height, width) / side)
        for cells, side in zip(saliency.shape, (height, width))
    ]
    smooth = ndimage.gaussian_filter(np.maximum(saliency, 0), reach, mode="nearest")
    top = float(smooth.max())
    if top <= 0:
        return nothing
    marked = smooth >= level * top
    labels, count = ndimage.label(marked, structure=np.ones((3, 3)))
    mass = ndimage.sum_labels(smooth, labels, np.arange(1, count + 1))
    kept, held = [], 0.0
    for place in np.argsort(-mass)[:REGIONS]:
        kept.append(int(place) + 1)
        held += float(mass[place])
        if held >= MOST * mass.sum():
            break
    region = _without_specks(np.isin(labels, kept))
    share = float(saliency[region].sum() / max(float(saliency.sum()), 1e-12))
    if held < COMPACT * mass.sum() or share < LEAST or region.mean() > WIDE or not region.any():
        return nothing
    # Outlined where the smoothed map has the level, between pixels; other regions are cut away first.
    alone = np.where(ndimage.binary_dilation(region, iterations=2) & ~(marked & ~region), smooth / top, 0.0)
    alone = np.where(region, np.maximum(alone, level), alone)
    found = outlines(alone / max(float(alone.max()), 1e-12), level)
    right, down = width / saliency.shape[1], height / saliency.shape[0]
    return Evidence(region, share, [path * (right, down) for path in found], size)


def fit_map(saliency: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Stretch a map (h, w) to the (H, W) of a picture, bilinear; float32."""
    saliency = np.ascontiguousarray(saliency, dtype=np.float32)
    if size is None or saliency.shape == tuple(size):
        return saliency
    from PIL import Image

    large = Image.fromarray(saliency).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(large, dtype=np.float32)


def dimmed(image: np.ndarray, evidence: Evidence, keep: float = 0.55) -> np.ndarray:
    """Darken an image (H, W, 3) uint8 outside the region to ``keep`` of its brightness; as it is without one."""
    if not evidence.compact:
        return image
    return np.uint8(np.round(image * np.where(evidence.region_at(image.shape[:2]), 1.0, keep)[..., None]))


def common_share(first: Evidence, second: Evidence) -> float:
    """Compute the intersection over union of two drawn regions of one picture; 0 where neither has one."""
    one, other = first.marked, second.region_at(first.marked.shape)
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 0.0


def _without_specks(region: np.ndarray) -> np.ndarray:
    """Fill holes and drop islands of less than ``SPECK`` of the image, unless there is nothing larger."""
    from scipy import ndimage

    least = SPECK * region.size
    holes, count = ndimage.label(~region)
    areas = ndimage.sum_labels(~region, holes, np.arange(1, count + 1))
    region = region | np.isin(holes, np.flatnonzero(areas < least) + 1)
    islands, count = ndimage.label(region, structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(region, islands, np.arange(1, count + 1))
    return np.isin(islands, np.flatnonzero(areas >= min(least, areas.max())) + 1) if count else region
