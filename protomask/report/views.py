"""Prototypes and explanations as the plain values that the page's templates print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from protomask.explanation import Explanation, PrototypePicture
from protomask.report.encoding import picture
from protomask.report.overlays import LEVEL, disagreement
from protomask.report.wording import localizer_label, number, percent, readable, shorten


def localizers_of(pictures: Sequence[PrototypePicture], explanations: Sequence[Explanation]) -> list[str]:
    """Every localizer that any map is of, in the order of first appearance."""
    sets = [each.maps for each in pictures] + [match.maps for each in explanations for match in each.matches]
    return list(dict.fromkeys(name for maps in sets for name in maps))


def gallery(
    pictures: Sequence[PrototypePicture],
    localizers: Sequence[str],
    explanations: Sequence[Explanation] = (),
    level: float = LEVEL,
) -> list[dict]:
    """One card per prototype; ``used`` says which explained images rest on it."""
    used: dict[int, list[dict]] = {}
    for place, explanation in enumerate(explanations):
        for match in explanation.matches:
            used.setdefault(match.prototype.record.prototype, []).append(
                {"anchor": f"image-{place}", "name": explanation.name, "points": number(match.points)}
            )
    cards = []
    for each in pictures:
        record, name = each.record, readable(each.record.class_name)
        apart = (
            disagreement(*(each.maps[key] for key in localizers[:2]), level)
            if all(key in each.maps for key in localizers[:2]) and len(localizers) > 1
            else None
        )
        cards.append(
            {
                "number": record.prototype,
                "class_name": name,
                "class_id": record.class_name,
                "source": record.source,
                "short_source": shorten(record.source.rsplit("/", 1)[-1], 28),
                "similarity": number(record.similarity),
                "weight": number(record.weight),
                "overlap": None if apart is None else percent(1 - apart, 0),
                "used": used.get(record.prototype, []),
                "sort": {
                    "similarity": record.similarity,
                    "weight": record.weight,
                    "apart": 0.0 if apart is None else round(apart, 4),
                },
                "search": f"{record.prototype} {record.class_name} {name} {record.source}".lower(),
                "picture": picture(
                    each.image,
                    each.maps,
                    localizers,
                    f"Training image {record.source} of class {name}, source of prototype {record.prototype}",
                    boxes=record.boxes,
                    cell=record.patch_box,
                    level=level,
                ),
            }
        )
    return cards


def class_filter(pictures: Sequence[PrototypePicture]) -> list[dict]:
    """Classes in the order of the prototypes, with how many each has."""
    counts = Counter(each.record.class_name for each in pictures)
    return [{"id": name, "name": readable(name), "count": count} for name, count in counts.items()]


def panels(
    explanations: Sequence[Explanation], localizers: Sequence[str], cards: Sequence[dict], level: float = LEVEL
) -> list[dict]:
    """One "this looks like that" panel per explanation; the rows and the rest sum to the logit.

    ``cards`` are those of :func:`gallery`, whose pictures are used again.
    """
    drawn = {card["number"]: card["picture"] for card in cards}
    found = []
    for place, each in enumerate(explanations):
        terms = [match.points for match in each.matches] + [each.other_points]
        reach = max((abs(points) for points in terms), default=1.0) or 1.0
        right = None if each.true_class is None else each.true_class == each.predicted
        found.append(
            {
                "anchor": f"image-{place}",
                "name": each.name,
                "predicted": readable(each.predicted),
                "right": right,
                "true_class": readable(each.true_class),
                "probability": percent(each.probability),
                "logit": number(each.logit),
                "others": _points(each.other_points, reach),
                "runner_up": readable(each.runner_up),
                "runner_up_logit": number(each.runner_up_logit),
                "margin": number(each.logit - each.runner_up_logit),
                "rows": [_row(match, each, localizers, reach, level, drawn) for match in each.matches],
            }
        )
    return found


def _row(match, explanation: Explanation, localizers: Sequence[str], reach: float, level: float, drawn: dict) -> dict:
    record = match.prototype.record
    name = readable(record.class_name)
    return {
        "number": record.prototype,
        "linked": record.prototype in drawn,
        "class_name": name,
        "source": record.source,
        "similarity": number(match.similarity),
        "weight": number(match.weight),
        **_points(match.points, reach),
        "here": picture(
            explanation.image,
            match.maps,
            localizers,
            f"Image {explanation.name}, where prototype {record.prototype} is found",
            level=level,
        ),
        "there": drawn.get(record.prototype)
        or picture(
            match.prototype.image,
            match.prototype.maps,
            localizers,
            f"Training image {record.source} of class {name}, source of prototype {record.prototype}",
            boxes=record.boxes,
            cell=record.patch_box,
            level=level,
        ),
    }


def _points(points: float, reach: float) -> dict:
    return {"points": number(points), "share": round(100 * abs(points) / reach, 1), "negative": points < 0}


def localizer_switch(localizers: Sequence[str]) -> list[dict]:
    from protomask.report.palette import look
    from protomask.report.wording import SHOWS

    return [
        {"slot": slot, "name": name, "label": localizer_label(name), "look": look(name), "shows": SHOWS.get(name, "")}
        for slot, name in enumerate(localizers)
    ]
