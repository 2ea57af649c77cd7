"""Pictures for the page: photographs and maps as data URIs, outlines as SVG paths, and all of it in words."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from protomask.explanations.photographs import photograph
from protomask.report.evidence import Evidence, find_evidence
from protomask.report.overlays import LEVEL
from protomask.report.palette import COLORMAP
from protomask.report.wording import localizer_label

PHOTO_SIDE, MAP_SIDE, SMALL_SIDE = 640, 112, 112
"""Longest sides in pixels: of photographs at most, of maps (smooth: the browser enlarges them without a visible loss),
of neighbours."""
MANY = 64
"""photographs that fit into a page at full size; more of them are smaller, so that the file is bounded"""

QUALITY = 82
"""of WebP, 1 to 100"""


def picture(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    localizers: Sequence[str],
    subject: str,
    *,
    cell=None,
    level: float = LEVEL,
    quality: int = QUALITY,
    side: int = PHOTO_SIDE,
    levels: Mapping[str, float] | None = None,
    nothing_to_keep: bool = False,
) -> dict:
    """Collect what the template needs to draw an image with the maps of its localizers.

    Args:
        image: (H, W, 3) uint8.
        maps: localizer name to (h, w) in [0, 1], stretched over the image.
        localizers: names in the order of the page's switch; one without a map here has no layer.
        subject: what the image is, the beginning of the alternative text.
        cell: box of the feature map's cells that a prototype came from, in pixels of the maps.
        level: share of a map's maximum at which it is outlined.
        quality: of the photograph.
        side: its longer side at most, in pixels.
        levels: localizer name to its own level, where it has one.
        nothing_to_keep: as for :func:`protomask.report.evidence.find_evidence`.
    """
    levels = {name: (levels or {}).get(name, level) for name in localizers}
    height, width = image.shape[:2]
    found = {
        name: find_evidence(maps[name], levels[name], (height, width), nothing_to_keep=nothing_to_keep)
        for name in localizers
        if name in maps
    }
    layers = [
        {
            "slot": slot,
            "name": name,
            "map": map_uri(maps[name]),
            "path": svg_path(found[name]),
            "box": found[name].box,
            "absence": found[name].absence,
        }
        for slot, name in enumerate(localizers)
        if name in maps
    ]
    marks = "; ".join(f"{localizer_label(name)} marks {whereabouts(each)}" for name, each in found.items())
    return {
        "width": width,
        "height": height,
        "photo": photo_uri(image, quality, side),
        "layers": layers,
        "cell": _stretched(cell, next(iter(maps.values())).shape, (height, width)) if cell and maps else cell,
        "alt": f"{subject}. {marks}." if marks else f"{subject}.",
    }


def _stretched(box, of: tuple[int, int], onto: tuple[int, int]) -> list[float]:
    down, right = onto[0] / of[0], onto[1] / of[1]
    return [round(value * scale, 1) for value, scale in zip(box, (right, down, right, down))]


def photo_side(count: int) -> int:
    """Choose the longer side of ``count`` photographs of one page: the more there are, the smaller.

    >>> photo_side(50), photo_side(200), photo_side(2000)
    (640, 362, 224)
    """
    return max(224, min(PHOTO_SIDE, round(PHOTO_SIDE * (MANY / max(count, 1)) ** 0.5)))


def photo_uri(image: np.ndarray, quality: int = QUALITY, side: int = PHOTO_SIDE) -> str:
    return data_uri(Image.fromarray(photograph(image, side)), quality)


def map_uri(saliency: np.ndarray, quality: int = 72) -> str:
    """Encode the map in the report's colours, small."""
    saliency = np.nan_to_num(saliency)
    top = float(np.max(saliency))
    grey = Image.fromarray(np.uint8(np.clip(saliency / top if top > 0 else saliency, 0, 1) * 255 + 0.5))
    grey.thumbnail((MAP_SIDE, MAP_SIDE), Image.Resampling.BILINEAR)
    return data_uri(Image.fromarray(_colors()[np.asarray(grey)]), quality)


def svg_path(evidence: Evidence) -> str:
    """Write outlines as the ``d`` of an SVG path in pixels of the image; empty where there is none."""
    return "".join("M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in path[:-1]) + "Z" for path in evidence.outlines)


def whereabouts(evidence: Evidence) -> str:
    """Say where what is outlined lies: "6 % of the image, upper left"."""
    inside = evidence.marked
    if not evidence.compact:
        return f"nothing ({evidence.absence})"
    rows, columns = np.nonzero(inside)
    height, width = inside.shape
    vertical = ("upper", "middle", "lower")[min(int(3 * rows.mean() / height), 2)]
    horizontal = ("left", "centre", "right")[min(int(3 * columns.mean() / width), 2)]
    place = "centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
    share = 100 * inside.mean()
    return f"{f'{share:.0f}' if share >= 1 else 'less than 1'} % of the image, {place}"


@cache
def _colors() -> np.ndarray:
    """(256, 3) uint8."""
    import matplotlib

    return np.uint8(np.round(matplotlib.colormaps[COLORMAP](np.arange(256))[:, :3] * 255))


def data_uri(image: Image.Image, quality: int = QUALITY) -> str:
    """Encode a picture as the address of itself, WebP."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
