"""The colours of localizers, for figures and page alike.

Safe for the common kinds of colour blindness (after Okabe and Ito), and never alone with a meaning: every localizer
also has its own dash pattern, and its name stands beside it.
"""

from __future__ import annotations

from typing import NamedTuple

COLORMAP = "magma"
"""Perceptually uniform: equal steps of a map look like equal steps. Stays readable in grey and for the colour-blind."""


CLASSES = ("#0072b2", "#e69f00", "#cc79a7", "#009e73", "#56b4e9", "#d55e00", "#8c7ae6", "#9a9a2e")
"""The colours of a few classes (six after Okabe and Ito), on white and dark alike; none says good or bad"""


def class_colours(count: int) -> list[str]:
    """Choose a colour for each of ``count`` classes: ``CLASSES``, or, where these are too few, hues; of neighbours in
    the list, which are often alike, they are far apart.

    >>> class_colours(2), class_colours(9)[1]
    (['#0072b2', '#e69f00'], 'hsl(348 60% 52%)')
    """
    if count <= len(CLASSES):
        return list(CLASSES[:count])
    return [f"hsl({round(210 + 137.508 * number) % 360} 60% 52%)" for number in range(count)]


class Look(NamedTuple):
    """Say how a localizer is drawn."""

    line: str
    """on white"""
    bright: str
    """on photographs and on dark pages"""
    dashes: tuple[float, ...]
    """lengths of stroke and gap in line widths; empty: solid"""


_LOOKS = {
    "mdm": Look("#0067a5", "#45c4ff", ()),
    "similarity": Look("#c34a00", "#ff9d3c", (5, 2)),
    "hdm": Look("#00796b", "#3fe0c5", (7, 2, 1.5, 2)),
    "neuromask": Look("#5a3ea8", "#c0adff", (6, 2, 1, 2, 1, 2)),
    "center": Look("#8a4d7d", "#eaa6dc", (2, 1.5)),
    "random": Look("#5b6670", "#d7dde2", (1, 1.5)),
}
_SPARE = [
    Look("#7a6a00", "#ffe45c", (4, 1.5)),
    Look("#a3195b", "#ff8fc0", (3, 1.5, 1, 1.5)),
    Look("#3f5f1f", "#b5e07a", (8, 2.5)),
]


def look(localizer: str) -> Look:
    """Choose a look, stable for a name; names beyond the built-in ones share three spare looks."""
    return _LOOKS.get(localizer) or _SPARE[sum(localizer.encode()) % len(_SPARE)]
