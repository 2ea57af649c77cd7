"""All pictures of a ``localize`` at one glance: a table, a contact sheet and a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from protomask.data.decoding import decode
from protomask.evaluation.tables import as_csv
from protomask.files import write_atomically
from protomask.localization.jobs import PAGE, TABLE
from protomask.own_pictures import CONTACT_SHEET, SIGNED
from protomask.report import style
from protomask.report.encoding import data_uri
from protomask.report.templating import template
from protomask.report.wording import certainty, localizer_label

COLUMNS = (
    *("image", "index", "name", "probability", "localizer"),
    *("x0", "y0", "x1", "y1", "width", "height", "overlay", "map"),
)
"""of the table; the box around what is outlined is in pixels of the picture, end-exclusive, and empty without one"""
ON_SHEET = 60
"""overlays on a contact sheet at most"""
WITH_THUMBNAIL = 1000
"""overlays that the page shows itself at most; the others are linked"""
SIDE = 256
"""longer side of a thumbnail in pixels"""


def write_overview(output: Path, pictures: Sequence[dict]) -> None:
    """Write ``localize.csv``, ``contact-sheet.png`` and ``localize.html`` beside the pictures' folders.

    Args:
        output: the folder that everything is in.
        pictures: as ``localize.json`` holds them.
    """
    rows = table_rows(pictures)
    text = as_csv(rows, COLUMNS)
    write_atomically(output / TABLE, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
    thumbnails = [thumbnail(output / row["overlay"]) for row in rows[:WITH_THUMBNAIL]]
    page = render_page(rows, thumbnails)
    write_atomically(output / PAGE, lambda path: path.write_text(page, encoding="utf-8", errors="backslashreplace"))
    if rows:
        sheet = contact_sheet(rows[:ON_SHEET], thumbnails[:ON_SHEET], len(rows))
        write_atomically(output / CONTACT_SHEET, partial(sheet.savefig, format="png", dpi=120, metadata=SIGNED))


def table_rows(pictures: Sequence[dict]) -> list[dict]:
    """Give one row for each picture, class and localizer, with the keys of ``COLUMNS``; paths are below the output."""
    rows = []
    for picture in pictures:
        for found in picture["classes"]:
            for localizer, files in found["maps"].items():
                box = dict(zip(("x0", "y0", "x1", "y1"), files["box"] or ()))
                rows.append(
                    {
                        **{key: picture[key] for key in ("image", "width", "height")},
                        "index": found["index"],
                        "name": found.get("name", ""),
                        "probability": round(found["probability"], 6),
                        "localizer": localizer,
                        **box,
                        **{key: f"{picture['folder']}/{files[key]}" for key in ("overlay", "map")},
                    }
                )
    return rows


def caption(row: dict) -> str:
    """Name the class, by its number where it has no name, with its probability."""
    return f"{row.get('name') or 'class ' + str(row['index'])} {certainty(row['probability'], 0)}"


def thumbnail(path: Path) -> np.ndarray:
    """Read an overlay of ours, small: (h, w, 3) uint8."""
    picture = Image.fromarray(decode(path)[0])
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


@style.styled
def contact_sheet(rows: Sequence[dict], thumbnails: Sequence[np.ndarray], total: int):
    """Draw overlays beside each other, with file, class and probability below each; ``total`` says of how many."""
    across, side, gap, below, head = min(len(rows), 6), 1.7, 0.14, 0.4, 0.45
    down = -(-len(rows) // across)
    figure = style.new_figure(max(across * (side + gap) + gap, 3.4), head + down * (side + below) + 0.1)
    several = len({row["localizer"] for row in rows}) > 1
    title = "Where the classifier looks" if several else f"Where the classifier looks: {_label(rows[0])}"
    style.write(figure, gap, 0.12, title, within=figure.get_size_inches()[0] - 2 * gap, fontsize=11, fontweight="bold")
    if total > len(rows):
        words = f"the first {len(rows)} of {total}"
        style.write(figure, figure.get_size_inches()[0] - gap, 0.15, words, ha="right", color=style.QUIET)
    for place, (row, pixels) in enumerate(zip(rows, thumbnails)):
        left, top = gap + place % across * (side + gap), head + place // across * (side + below)
        style.tile(style.place(figure, left, top, side, side), pixels)
        style.write(figure, left, top + side + 0.04, caption(row), within=side, fontsize=8, fontweight="bold")
        words = Path(row["image"]).name + (f" · {_label(row)}" if several else "")
        style.write(figure, left, top + side + 0.18, words, within=side, fontsize=6.5, color=style.QUIET)
    return figure


def render_page(rows: Sequence[dict], thumbnails: Sequence[np.ndarray]) -> str:
    """Write the page as text; rows without a thumbnail are linked alone."""
    shown = [
        {
            "file": Path(row["image"]).name,
            "image": row["image"],
            "name": row["name"] or f"class {row['index']}",
            "probability": row["probability"],
            "percent": certainty(row["probability"]),
            "localizer": _label(row),
            "link": quote(row["overlay"]),
            "map": quote(row["map"]),
            "thumbnail": data_uri(Image.fromarray(thumbnails[place]), 80) if place < len(thumbnails) else None,
        }
        for place, row in enumerate(rows)
    ]
    return template("localized.html.j2").render(rows=shown, pictures=len({row["image"] for row in rows}))


def _label(row: dict) -> str:
    return localizer_label(row["localizer"])
