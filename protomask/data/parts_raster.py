"""Integer painting for ``parts``: the same pixels for the same scene on every machine.

No floating point decides a pixel. A picture measures ``SIDE`` x ``SIDE`` units, whatever its number of pixels. Outlines
are integer points, placed by fixed-point affine maps; the coverage of a pixel (0..64) is summed from four sub-rows,
whose crossings are known to a sixteenth of a pixel, and colours are mixed by it in integers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDE = 1 << 16  # units along one side of a picture
FULL = 64  # coverage of a pixel that lies wholly inside an outline
_ONE = 1 << 16  # fixed-point one of the affine maps

Colour = tuple[int, int, int]

# Rounded to 16 bits, so that the last bit of a machine's sine cannot show (no entry is near a tie, as a test checks).
SINE = tuple(round(math.sin(math.radians(degree)) * _ONE) for degree in range(360))


@dataclass(frozen=True)
class Affine:
    """(u, v) -> (a u + b v + x, c u + d v + y); a..d in 1/65536, x and y in units of the target."""

    a: int = _ONE
    b: int = 0
    c: int = 0
    d: int = _ONE
    x: int = 0
    y: int = 0

    @staticmethod
    def place(x: int, y: int, angle: int = 0, scale: int = _ONE, flip: bool = False) -> "Affine":
        """Mirror left-right if ``flip``, scale (1/65536), turn clockwise by ``angle`` degrees, move to (x, y)."""
        sine, cosine = SINE[angle % 360] * scale >> 16, SINE[(angle + 90) % 360] * scale >> 16
        mirror = -1 if flip else 1
        return Affine(cosine * mirror, -sine, sine * mirror, cosine, x, y)

    def then(self, inner: "Affine") -> "Affine":
        """Give the map that applies ``inner`` first and this one after it."""
        return Affine(
            (self.a * inner.a + self.b * inner.c) >> 16,
            (self.a * inner.b + self.b * inner.d) >> 16,
            (self.c * inner.a + self.d * inner.c) >> 16,
            (self.c * inner.b + self.d * inner.d) >> 16,
            ((self.a * inner.x + self.b * inner.y) >> 16) + self.x,
            ((self.c * inner.x + self.d * inner.y) >> 16) + self.y,
        )

    def apply(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the images x (N,) and y (N,) of int64 points (2, N)."""
        u, v = points
        return ((self.a * u + self.b * v) >> 16) + self.x, ((self.c * u + self.d * v) >> 16) + self.y

    def invert(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the source coordinates (h, w) of the target grid ``y`` (h,) by ``x`` (w,)."""
        determinant = self.a * self.d - self.b * self.c
        x, y = (x - self.x) * _ONE, (y - self.y)[:, None] * _ONE
        return (self.d * x - self.b * y) // determinant, (self.a * y - self.c * x) // determinant


@dataclass(frozen=True)
class Pattern:
    """Stripes or spots of a second colour over a shape, in the shape's own coordinates.

    Args:
        kind: ``"stripes"`` across u, ``"bars"`` across v, or ``"spots"`` on a grid.
        period: distance of neighbours, units of the shape.
        colour: the second colour.
        share: part of a period that the second colour fills, in 1/64.
    """

    kind: str
    period: int
    colour: Colour
    share: int = 32

    def cover(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Compute the coverage (h, w), 0..64, of the second colour at the shape's coordinates u, v (h, w)."""
        half = self.period // 2
        if self.kind == "spots":
            shifted = u + np.where((v // self.period) & 1, half, 0)  # every other row half a period on
            u, v = shifted % self.period - half, v % self.period - half
            radius = self.period * self.share // 128
            return np.clip((radius * radius - u * u - v * v) * 2 // max(1, radius) + FULL // 2, 0, FULL)
        along = u if self.kind == "stripes" else v
        wave = np.abs(along % self.period - half)  # 0 in the middle of a band, period / 2 between two
        return np.clip((half * self.share // 64 - wave) * 4 + FULL // 2, 0, FULL)


def smooth(points: list[tuple[int, int]], rounds: int = 2) -> np.ndarray:
    """Cut the corners of a closed outline (Chaikin): N points -> int64 (2, N * 2 ** rounds), rounded down."""
    outline = np.array(points, dtype=np.int64)
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        outline = np.stack([(3 * outline + following) >> 2, (outline + 3 * following) >> 2], axis=1).reshape(-1, 2)
    return np.ascontiguousarray(outline.T)


class Canvas:
    """A picture in the making: ``image`` int16 (3, S, S) in 0..255; ``owner`` uint8 (S, S), who painted a pixel."""

    def __init__(self, size: int):
        self.size = size
        self.image = np.zeros((3, size, size), dtype=np.int16)
        self.owner = np.zeros((size, size), dtype=np.uint8)

    def paint(
        self,
        outline: np.ndarray,
        where: Affine,
        colour: Colour,
        pattern: Pattern | None = None,
        owner: int | None = None,
        edge: bool = True,
    ) -> None:
        """Fill ``outline`` (2, N), placed by ``where``; what lies outside the picture is cut off.

        Args:
            owner: the number that pixels covered by half or more get; ``None`` leaves the pixels to those beneath.
            edge: draws a dark line along the inside of the outline.
        """
        x, y = where.apply(outline)
        window, cover = coverage(x, y, self.size)
        if cover is None:
            return
        fill = plane(colour)
        if pattern is not None:
            middles = (np.arange(self.size, dtype=np.int64) * 2 + 1) * SIDE // (2 * self.size)
            u, v = where.invert(middles[window[1]], middles[window[0]])
            fill = mix(fill, plane(pattern.colour), pattern.cover(u, v).astype(np.int16))
        if edge:
            inner = _shrink(cover, max(1, self.size // 112))
            fill = mix(plane([channel * 7 // 20 for channel in colour]), fill, inner)
        picture = self.image[:, window[0], window[1]]
        picture[:] = mix(picture, fill, cover)
        if owner is not None:
            self.owner[window][cover >= FULL // 2] = owner


def plane(colour: Sequence[int]) -> np.ndarray:
    """Give a colour as int16 (3, 1, 1)."""
    return np.array(colour, dtype=np.int16)[:, None, None]


def mix(beneath: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Give ``above`` over ``beneath``, int16 (3, 1, 1) or (3, h, w), by the coverage (h, w) in 0..64; in integers."""
    mixed = (above - beneath) * cover  # at most 255 * 64: fits
    mixed += FULL // 2
    mixed >>= 6
    mixed += beneath
    return mixed


def coverage(x: np.ndarray, y: np.ndarray, size: int) -> tuple[tuple[slice, slice], np.ndarray | None]:
    """Tell how much of each pixel a simple polygon covers.

    Args:
        x, y: int64 (N,) corners in picture units, in either sense of rotation.
        size: pixels along a side.

    Returns:
        The window (rows, columns) of the picture around the polygon and int16 (h, w) in 0..64, or ``None`` for the
        latter where the polygon lies outside the picture.
    """
    x, y = x * size >> 12, y * size >> 12  # sixteenths of a pixel
    left, right = max(0, int(x.min()) >> 4), min(size, (int(x.max()) >> 4) + 1)
    top, bottom = max(0, int(y.min()) >> 4), min(size, (int(y.max()) >> 4) + 1)
    window = (slice(top, bottom), slice(left, right))
    if left >= right or top >= bottom:
        return window, None
    centres = np.arange(16 * top + 2, 16 * bottom, 4, dtype=np.int64)  # of the sub-rows
    run, rise = np.concatenate((x[1:], x[:1])) - x, np.concatenate((y[1:], y[:1])) - y
    above = y[:, None] <= centres
    # An edge crosses the sub-rows that lie between its ends.
    edge, row = np.nonzero(above != np.concatenate((above[1:], above[:1])))
    run, rise = run[edge], rise[edge]
    height, width = bottom - top, right - left
    cross = x[edge] + (centres[row] - y[edge]) * run // rise - 16 * left
    cross = np.minimum(np.maximum(cross, 0), 16 * width)
    # What lies right of a crossing is entered or left there: deposit the step, then sum along each row.
    sign = np.sign(rise)
    cell, step = (row >> 2) * (width + 2) + (cross >> 4), (16 - (cross & 15)) * sign
    steps = np.bincount(
        np.concatenate((cell, cell + 1)),
        np.concatenate((step, 16 * sign - step)),  # small whole numbers: their float64 sums are exact
        minlength=height * (width + 2),
    )
    covered = np.cumsum(steps.reshape(height, width + 2)[:, :width], axis=1).astype(np.int16)
    return window, np.minimum(np.abs(covered), FULL)


def _shrink(cover: np.ndarray, pixels: int) -> np.ndarray:
    """Take the least coverage among a pixel's neighbours, ``pixels`` times: the shape without its rim."""
    for _ in range(pixels):
        least = np.zeros_like(cover)
        inside = np.minimum(cover[:-2, 1:-1], cover[2:, 1:-1])
        np.minimum(inside, cover[1:-1, :-2], out=inside)
        np.minimum(inside, cover[1:-1, 2:], out=inside)
        least[1:-1, 1:-1] = np.minimum(inside, cover[1:-1, 1:-1])
        cover = least
    return cover
