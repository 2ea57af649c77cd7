"""A map of the prototypes on which similar ones lie side by side: a grid of thumbnails, sorted by their vectors.

The grid is sorted as by Barthel, Hezel, Jung and Schall, "Improved Evaluation and Generation of Grid Layouts using
Distance Preservation Quality and Linear Assignment Sorting" (2023): vectors on the grid are smoothed, each prototype
moves to the cell whose smoothed vector is most like its own, and so on with less and less smoothing. Nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from protomask.explanations.photographs import photograph
from protomask.explanations.records import PrototypePicture
from protomask.report.encoding import data_uri
from protomask.report.evidence import find_evidence
from protomask.report.overlays import LEVEL
from protomask.report.palette import class_colours
from protomask.report.wording import Namer, percent, readable_all

LEAST, MOST = 6, 196
"""prototypes from which on a map is drawn, and marks that stay legible on a phone: of more, some stand for others"""
THUMBNAIL = 72
"""side of a mark in pixels"""
LEGEND = 24
"""classes that a legend still tells apart"""
PAIRS = 5
"""most alike prototypes of different classes that are named"""


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (P, ...) to length 1, flat: (P, D) float64; their products are cosines."""
    flat = np.asarray(vectors, np.float64).reshape(len(vectors), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def spread(vectors: np.ndarray, count: int) -> tuple[list[int], np.ndarray]:
    """Choose ``count`` of P unit vectors that lie far apart, so that each other one has a chosen one near it.

    Returns:
        the chosen ones in rising order, and for each of the P vectors the place in that list of the one most like it.
    """
    if len(vectors) <= count:
        return list(range(len(vectors))), np.arange(len(vectors))
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    likeness = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        likeness[chosen] = np.inf
        chosen.append(int(likeness.argmin()))
        likeness = np.maximum(likeness, vectors @ vectors[chosen[-1]])
    chosen = sorted(chosen)
    stands = (vectors @ vectors[chosen].T).argmax(1)
    stands[chosen] = np.arange(len(chosen))
    return chosen, stands


def grid_places(vectors: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Sort P unit vectors (P, D) onto a grid; the same vectors give the same grid.

    Returns:
        (P,) numbers of cells, row by row; rows; columns.
    """
    from scipy import ndimage
    from scipy.optimize import linear_sum_assignment

    count = len(vectors)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = rows * columns
    # Begun along the two directions in which the vectors differ most; the sign of a direction is fixed by its largest.
    centred = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((count, 2))
    for axis, direction in enumerate(directions[:2]):
        plane[:, axis] = centred @ (direction * np.sign(direction[np.abs(direction).argmax()]))
    spots = np.stack(np.divmod(np.arange(cells), columns), 1) / max(rows - 1, columns - 1, 1)
    ranks = plane.argsort(0, kind="stable").argsort(0, kind="stable")[:, ::-1] / max(count - 1, 1)
    cost = ((ranks[:, None] - spots[None]) ** 2).sum(2)
    place = linear_sum_assignment(cost)[1]
    radius = max(rows, columns) / 2
    while radius > 0.5:
        held, filled = np.zeros((cells, vectors.shape[1])), np.zeros(cells)
        held[place], filled[place] = vectors, 1
        blur = (radius / 2, radius / 2)
        smooth = ndimage.gaussian_filter(held.reshape(rows, columns, -1), (*blur, 0), mode="nearest")
        weight = ndimage.gaussian_filter(filled.reshape(rows, columns), blur, mode="nearest")
        around = (smooth / np.maximum(weight, 1e-9)[..., None]).reshape(cells, -1)
        place = linear_sum_assignment(-vectors @ around.T + (around**2).sum(1) / 2)[1]  # the nearest, as squares tell
        radius *= 0.9
    return place, rows, columns


def beside(place: np.ndarray, columns: int, likeness: np.ndarray) -> float:
    """Tell how true a grid is: the share whose most similar one lies on one of the eight cells around it."""
    row, column = np.divmod(place, columns)
    nearest = np.where(np.eye(len(place), dtype=bool), -np.inf, likeness).argmax(1)
    return float(np.mean(np.maximum(abs(row - row[nearest]), abs(column - column[nearest])) <= 1))


def neighbourhoods(
    pictures: Sequence[PrototypePicture],
    vectors: np.ndarray | None,
    localizer: str | None,
    level: float = LEVEL,
    written: Namer | None = None,
) -> dict | None:
    """Make the map as the template prints it; None for few prototypes or none.

    Args:
        pictures: of the prototypes, each number a row of ``vectors``.
        vectors: (all prototypes, ...), the network's.
        localizer: whose evidence the thumbnails show; None shows the whole image.
        level: as for :func:`protomask.report.evidence.find_evidence`.
        written: gives the classes' names as they are shown; by default those of ``pictures`` are told apart.
    """
    if vectors is None or len(pictures) < LEAST:
        return None
    units = unit_vectors(vectors)[[each.record.prototype for each in pictures]]
    names = [each.record.class_name for each in pictures]
    classes, written = list(dict.fromkeys(names)), written or readable_all(names)
    chosen, stands = spread(units, MOST)
    place, rows, columns = grid_places(units[chosen])
    likeness = units @ units.T
    colours = dict(zip(classes, class_colours(len(classes))))
    marks = []
    for number, index in enumerate(chosen):
        each, others = pictures[index], [other for other in np.flatnonzero(stands == number) if other != index]
        row, column = divmod(int(place[number]), columns)
        nearest = int(np.argmax(np.where(np.arange(len(units)) == index, -np.inf, likeness[index])))
        marks.append(
            {
                "number": each.record.prototype,
                "class_name": written(names[index]),
                "colour": colours[names[index]],
                "row": row + 1,
                "column": column + 1,
                "photo": data_uri(_thumbnail(each, localizer, level), 74),
                "others": len(others),
                "nearest": pictures[nearest].record.prototype,
                "nearest_class": written(names[nearest]),
                "likeness": f"{likeness[index, nearest]:.2f}",
            }
        )
    marks.sort(key=lambda mark: (mark["row"], mark["column"]))
    share = beside(place, columns, likeness[np.ix_(chosen, chosen)])
    return {
        "marks": marks,
        "columns": columns,
        "total": len(pictures),
        "beside": percent(share, 0),
        "some_apart": share < 1,
        "classes": [{"name": written(name), "colour": colours[name]} for name in classes]
        if len(classes) <= LEGEND
        else [],
        "alike": _alike(pictures, [written(name) for name in names], likeness),
    }


def _alike(pictures: Sequence[PrototypePicture], names: Sequence[str], likeness: np.ndarray) -> list[dict]:
    """List the most similar prototypes of different classes, each in one pair at most."""
    kinds = np.unique(np.array(names), return_inverse=True)[1]
    # A pair once, and none of one class. Sorting all pairs of ten thousand prototypes would take gigabytes.
    left = np.where(np.triu(kinds[:, None] != kinds[None], 1), likeness, -np.inf)
    found: list[dict] = []
    while len(found) < PAIRS and left.size:
        one, other = (int(place) for place in np.unravel_index(int(left.argmax()), left.shape))
        if left[one, other] == -np.inf:
            break
        both = [{"number": pictures[each].record.prototype, "class_name": names[each]} for each in (one, other)]
        found.append({"pair": both, "likeness": f"{likeness[one, other]:.2f}"})
        left[[one, other]] = -np.inf
        left[:, [one, other]] = -np.inf
    return found


def _thumbnail(each: PrototypePicture, localizer: str | None, level: float):
    """Cut a square around what a prototype looks at, a quarter of the image's shorter side or larger."""
    from PIL import Image

    height, width = each.image.shape[:2]
    box = None
    if localizer in each.maps and not each.nothing_to_keep:
        box = find_evidence(each.maps[localizer], each.record.levels.get(localizer, level), (height, width)).box
    x0, y0, x1, y1 = box or (0, 0, width, height)
    side = min(max(1.2 * (x1 - x0), 1.2 * (y1 - y0), min(height, width) / 4), height, width)
    left = min(max((x0 + x1 - side) / 2, 0), width - side)
    top = min(max((y0 + y1 - side) / 2, 0), height - side)
    cut = each.image[
        round(top) : max(round(top + side), round(top) + 1), round(left) : max(round(left + side), round(left) + 1)
    ]
    return Image.fromarray(photograph(np.ascontiguousarray(cut), THUMBNAIL))
