"""A gallery of very many prototypes on pages of their own, beside the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from protomask.report.wording import count

MOST = 24_000_000
"""bytes of pictures on a page at most, so that it opens in a moment; a class stays on one page unless it is larger"""


def gallery_pages(cards: Sequence[dict], neighbours: Mapping[str, Any], most: int | None = None) -> list[list[int]]:
    """Divide a gallery into pages of about equally many bytes: places of the cards; a single page where all fit.

    Args:
        cards: as :func:`protomask.report.views.gallery` makes them, those of a class together.
        neighbours: as :func:`protomask.report.views.neighbours` makes them.
        most: bytes of a page's pictures; ``MOST`` by default.
    """
    most = MOST if most is None else most
    near = {number: _near_bytes(found, neighbours["images"]) for number, found in neighbours.get("of", {}).items()}
    sizes = [_card_bytes(card) + near.get(card["number"], 0) for card in cards]
    pages: list[list[int]] = []
    total = sum(sizes)
    # A page closes with the class that brings it to its share, so shares leave room for one.
    aim = total if total <= most else total / -(-total // (0.95 * most))
    held = 0
    for group in _whole_classes(cards, sizes, most):
        size = sum(sizes[place] for place in group)
        if not pages or held + size > most or held >= aim:
            pages.append([])
            held = 0
        pages[-1] += group
        held += size
    return pages


def _whole_classes(cards: Sequence[dict], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Give the places of each class's cards; of a class that no page holds one by one."""
    for _, group in groupby(range(len(cards)), key=lambda place: cards[place]["class_id"]):
        places = list(group)
        if sum(sizes[place] for place in places) <= most:
            yield places
        else:
            yield from ([place] for place in places)


def _card_bytes(card: dict) -> int:
    picture = card["picture"]
    return len(picture["photo"]) + sum(len(layer["map"]) + 3 * len(layer["path"]) for layer in picture["layers"])


def _near_bytes(found: Sequence[dict], images: Mapping[int, dict]) -> int:
    return sum(len(images[each["image"]]["photo"]) + len(each.get("path", "")) for each in found)


def neighbours_of(neighbours: Mapping[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
    """Take what :func:`protomask.report.views.neighbours` found for some prototypes."""
    of = {number: neighbours["of"][number] for number in numbers if number in neighbours.get("of", {})}
    used = sorted({each["image"] for found in of.values() for each in found})
    return {"images": {image: neighbours["images"][image] for image in used}, "of": of} if of else {}


def page_path(report: Path, number: int) -> Path:
    """Name the file of a gallery's page, from 1, beside the report."""
    return report.with_name(f"{report.stem}-prototypes-{number}{report.suffix}")


def written_pages(report: Path) -> list[Path]:
    """List the gallery's pages that lie beside a report, in order."""
    found: list[Path] = []
    while (path := page_path(report, len(found) + 1)).is_file():
        found.append(path)
    return found


def page_list(report: Path, pages: Sequence[Sequence[int]], cards: Sequence[dict]) -> list[dict]:
    """Describe the pages for the template: file, numbers, and where each class begins; none for a single page."""
    if len(pages) < 2:
        return []
    found = []
    for number, places in enumerate(pages, 1):
        file = quote(page_path(report, number).name)
        own = [cards[place] for place in places]
        groups = [list(group) for _, group in groupby(own, key=lambda card: card["class_id"])]
        found.append(
            {
                "number": number,
                "file": file,
                "places": list(places),
                "prototypes": count(len(own), "prototype"),
                "first": groups[0][0]["class_name"],
                "last": groups[-1][0]["class_name"],
                "classes": [
                    {
                        "name": group[0]["class_name"],
                        "id": group[0]["class_id"],
                        "count": len(group),
                        "href": f"{file}#prototype-{group[0]['number']}",
                    }
                    for group in groups
                ],
            }
        )
    return found
