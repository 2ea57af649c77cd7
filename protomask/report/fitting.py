"""Text that fits into its place in a matplotlib figure: smaller, broken into lines, and cut only at the very last."""

from __future__ import annotations

from functools import cache

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure

from protomask.report.fonts import drawable, families, weight_for
from protomask.report.wording import shorten

SMALLEST = 3.0
"""points of the smallest letters; text that does not fit with these is shortened"""


@cache
def _measure() -> RendererAgg:
    return RendererAgg(1, 1, 300)


def text_width(figure: Figure, text: str, size: float, weight: str = "normal") -> float:
    """Measure the width in inches that ``text`` takes at ``size`` points at most, at any resolution."""
    text = drawable(text)
    weight = weight_for(text, weight)
    artist = figure.text(0, 0, text, fontsize=size, fontweight=weight, fontfamily=families(text))
    width = artist.get_window_extent(_measure(), dpi=300).width / 300
    artist.remove()
    return 1.12 * width  # hinting widens small letters by up to a ninth at some resolutions


def fitted(
    figure: Figure, text: str, size: float, width: float, weight: str = "normal", lines: int = 1
) -> tuple[str, float]:
    """Break and reduce ``text`` until it fits into ``width`` inches and the height of ``lines`` lines of that ``size``.

    Returns:
        The text and its size. Only where that would be below ``SMALLEST`` is the text shortened, in its middle.
    """
    length = len(text)
    best = _best(figure, text, size, width, weight, lines)
    while best[1] < SMALLEST and length > 4:
        length = min(length - 1, int(length * max(0.5, (best[1] / SMALLEST) ** 2)) + 1)
        best = _best(figure, shorten(text, length), size, width, weight, lines)
    return best


def _best(figure: Figure, text: str, size: float, width: float, weight: str, lines: int) -> tuple[str, float]:
    """Give the number of lines that leaves the letters largest: the text so broken, and its size."""
    best = text, min(size, size * width / max(text_width(figure, text, size, weight), 1e-6))
    for count in range(2, 3 * lines + 2):
        high = min(size, size * lines / count)
        if best[1] < high:
            found = broken(text, count)
            high = min(high, size * width / max(text_width(figure, found, size, weight), 1e-6))
            best = max(best, (found, high), key=lambda each: each[1])
    return best


def broken(text: str, count: int) -> str:
    """Break ``text`` into at most ``count`` lines of about equal length, where words or parts of names end if it can.

    >>> broken("Black_footed Albatross", 2)
    'Black_footed\\nAlbatross'
    """
    rest, found = text, []
    for left in range(count, 1, -1):
        ideal = -(-len(rest) // left)
        reach = max(1, ideal // 3)
        places = range(max(1, ideal - reach), min(len(rest), ideal + reach + 1))
        ends = [at for at in places if rest[at - 1] in " _-/.,·"]
        at = min(ends, key=lambda place: abs(place - ideal), default=ideal)
        found.append(rest[:at].rstrip(" "))
        rest = rest[at:]
    return "\n".join(each for each in [*found, rest] if each)
