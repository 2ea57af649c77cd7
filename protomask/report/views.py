"""Prototypes and explanations as the plain values that the page's templates print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from protomask import distributed
from protomask.explanations.inspection import FLAGS
from protomask.explanations.records import Explanation, Inspection, Match, PrototypePicture
from protomask.localizers.base import min_max
from protomask.report.answer_words import heading, threshold, truth
from protomask.report.encoding import PHOTO_SIDE, QUALITY, photo_uri, picture, svg_path
from protomask.report.evidence import common_share, find_evidence
from protomask.report.overlays import LEVEL
from protomask.report.wording import (
    Namer,
    certainty,
    localizer_label,
    number,
    percent,
    readable,
    readable_all,
    shorten,
    shows,
)


def localizers_of(pictures: Sequence[PrototypePicture], explanations: Sequence[Explanation]) -> list[str]:
    """List every localizer that any map is of, in the order of first appearance."""
    sets = [each.maps for each in pictures] + [match.maps for each in explanations for match in each.matches]
    return list(dict.fromkeys(name for maps in sets for name in maps))


def gallery(
    pictures: Sequence[PrototypePicture],
    localizers: Sequence[str],
    explanations: Sequence[Explanation] = (),
    level: float = LEVEL,
    quality: int = QUALITY,
    side: int = PHOTO_SIDE,
    names: Namer = readable,
) -> list[dict]:
    """Make one card per prototype; ``used`` says which explained images rest on it. Several processes share them."""
    used: dict[int, list[dict]] = {}
    for place, explanation in enumerate(explanations):
        for match in explanation.matches:
            used.setdefault(match.prototype.record.prototype, []).append(
                {"anchor": f"image-{place}", "name": explanation.name, "points": number(match.points)}
            )
    draw = partial(_card, localizers=localizers, used=used, level=level, quality=quality, side=side, names=names)
    return distributed.share_out(pictures, draw)


def _card(
    each: PrototypePicture,
    localizers: Sequence[str],
    used: Mapping[int, list[dict]],
    level: float,
    quality: int,
    side: int,
    names: Namer,
) -> dict:
    record, name, maps = each.record, names(each.record.class_name), each.maps
    common = (
        common_share(
            *(find_evidence(maps[key], record.levels.get(key, level), each.image.shape[:2]) for key in localizers[:2])
        )
        if all(key in maps for key in localizers[:2]) and len(localizers) > 1 and not each.nothing_to_keep
        else None
    )
    return {
        "number": record.prototype,
        "class_name": name,
        "class_id": record.class_name,
        "source": record.source,
        "short_source": shorten(record.source.rsplit("/", 1)[-1], 28),
        "weight": number(record.weight),
        "overlap": None if common is None else percent(common, 0),
        "used": used.get(record.prototype, []),
        **_inspected(each.inspection),
        "sort": {
            "weight": record.weight,
            "apart": 0.0 if common is None else round(1 - common, 4),
            **_sort_keys(each.inspection),
        },
        "search": f"{record.prototype} {record.class_name} {name} {record.source}",
        "picture": _source(each, maps, localizers, level, quality, side, names),
    }


def _source(
    each: PrototypePicture,
    maps: Mapping[str, np.ndarray],
    localizers: Sequence[str],
    level: float,
    quality: int,
    side: int,
    names: Namer,
) -> dict:
    """Draw the training image that a prototype is from; ``maps`` are its own, read once."""
    record = each.record
    name = names(record.class_name)
    return picture(
        each.image,
        maps,
        localizers,
        f"Training image {record.source} of class {name}, source of prototype {record.prototype}",
        cell=record.patch_box,
        level=level,
        quality=quality,
        side=side,
        levels=record.levels,
        nothing_to_keep=each.nothing_to_keep,
    )


def _inspected(found: Inspection | None) -> dict:
    """Give the values that stand on a card; None for what is not known."""
    if found is None:
        return {"found": None, "purity": None, "outside": None, "flags": [], "twin": None}
    return {
        "found": None if found.activated is None else percent(found.activated / found.images, 0),
        "purity": percent(found.purity, 0) if found.purity is not None else None,
        "outside": percent(next(iter(found.outside.values())), 0) if found.outside else None,
        "flags": list(found.flags),
        "twin": found.twin,
    }


def _sort_keys(found: Inspection | None) -> dict:
    if found is None:
        return {"purity": 0.0, "found": 0, "outside": 0.0}
    outside = next(iter(found.outside.values()), 0.0)
    return {"purity": found.purity or 0.0, "found": found.activated or 0, "outside": round(outside, 4)}


def neighbours(
    pictures: Sequence[PrototypePicture],
    images: Mapping[int, np.ndarray],
    maps: np.ndarray | None,
    level: float = LEVEL,
    names: Namer = readable,
) -> dict:
    """List the nearest test images of every prototype, each photograph once, with the similarity map's outline.

    Several processes share the drawing.

    Args:
        images: position in the test images to (H, W, 3) uint8, small.
        maps: (P, K, h, w) in [0, 1], the similarity maps there; None draws no outlines.
    """

    def grid_of(each: PrototypePicture, rank: int) -> np.ndarray | None:
        return None if maps is None else maps[each.record.prototype, rank]

    def near(each: PrototypePicture) -> list[dict]:
        found = each.inspection.nearest if each.inspection else ()
        return [
            _near(each, rank, images[near.position], grid_of(each, rank), level, names)
            for rank, near in enumerate(found)
            if near.position in images
        ]

    drawn = distributed.share_out(pictures, near)
    of = {each.record.prototype: found for each, found in zip(pictures, drawn) if found}
    used = sorted({near["image"] for each in of.values() for near in each})
    photos = distributed.share_out(
        used,
        lambda position: {
            "photo": photo_uri(images[position], 74),
            "size": list(images[position].shape[1::-1]),
        },
    )
    return {"images": dict(zip(used, photos)), "of": of} if of else {}


def _near(
    each: PrototypePicture, rank: int, image: np.ndarray, grid: np.ndarray | None, level: float, names: Namer
) -> dict:
    """Make one of a prototype's nearest images, with the outline of its similarity map."""
    assert each.inspection is not None
    near, own, drawn = each.inspection.nearest[rank], each.record.levels.get("similarity"), {}
    if grid is not None:
        height, width = image.shape[:2]
        large = enlarge_map(grid, height, width, own is None)
        keeps = not each.record.nothing_to_keep(near.similarity)
        drawn["path"] = svg_path(find_evidence(large, level if own is None else own)) if keeps else ""
    return {
        "image": near.position,
        "name": near.name,
        "class": names(near.class_name),
        "own": near.own,
        "similarity": number(near.similarity),
        **drawn,
    }


def enlarge_map(grid: np.ndarray, height: int, width: int, by_range: bool = True) -> np.ndarray:
    """Enlarge a similarity map (h, w) as the localizer ``similarity`` does; scaled by its range, or as it is."""
    small = torch.from_numpy(np.ascontiguousarray(grid))[None, None]
    large = F.interpolate(small, (height, width), mode="bicubic", align_corners=False)[0, 0]
    return (min_max(large) if by_range else large.clamp_min(0)).numpy()


def class_filter(pictures: Sequence[PrototypePicture], names: Namer = readable) -> list[dict]:
    """List classes in the order of the prototypes, with how many each has."""
    counts = Counter(each.record.class_name for each in pictures)
    return [{"id": name, "name": names(name), "count": count} for name, count in counts.items()]


def flag_filter(pictures: Sequence[PrototypePicture]) -> list[dict]:
    """List the choices of the gallery's filter by flags; empty where nothing was inspected."""
    found = [each.inspection.flags for each in pictures if each.inspection is not None]
    if not found:
        return []
    counts = Counter(flag for flags in found for flag in flags)
    kinds = [{"id": flag, "name": flag, "count": counts[flag]} for flag in FLAGS]
    return [*kinds, {"id": "none", "name": "not flagged", "count": sum(not flags for flags in found)}]


def panels(
    explanations: Sequence[Explanation],
    localizers: Sequence[str],
    cards: Sequence[dict],
    level: float = LEVEL,
    quality: int = QUALITY,
    side: int = PHOTO_SIDE,
) -> list[dict]:
    """Make one "this looks like that" panel per explanation; the rows and the rest sum to the logit.

    ``cards`` are those of :func:`gallery`, whose pictures are used again. Several processes share the drawing.
    """
    drawn = {card["number"]: card["picture"] for card in cards}

    def panel(place: int) -> dict:
        each = explanations[place]
        names = readable_all(each.classes)
        # The sum over all other prototypes is far larger than any one's points; its bar would hide theirs.
        reach = max((abs(match.points) for match in (*each.matches, *each.counter)), default=1.0) or 1.0
        rows = partial(
            _row,
            explanation=each,
            localizers=localizers,
            reach=reach,
            level=level,
            quality=quality,
            side=side,
            drawn=drawn,
            names=names,
        )
        drawn_rows = [rows(match) for match in each.matches]
        return {
            "anchor": f"image-{place}",
            "name": each.name,
            "heading": heading(each, names),
            "subject": names(each.subject),
            "finding": bool(each.finding),
            "found": each.found,
            "threshold": threshold(each) if each.finding else "",
            "right": each.right,
            "truth": "" if each.right is None else truth(each, names),
            "probability": certainty(each.probability),
            "logit": number(each.logit),
            "own": number(each.other_own_points),
            "others": number(each.other_points - each.other_own_points - each.bias),
            "against": [
                {
                    "number": match.prototype.record.prototype,
                    "points": number(match.points),
                    "linked": match.prototype.record.prototype in drawn,
                }
                for match in each.against
            ],
            "runner_up": names(each.runner_up),
            "runner_up_logit": number(each.runner_up_logit),
            "margin": number(abs(each.logit - each.runner_up_logit)),
            "carried": "" if each.shown_share is None else percent(each.shown_share, 0),
            "positive": each.evidence == "positive",
            "bias": number(each.bias) if each.finding else "",
            "rows": drawn_rows,
            "outlined": bool(drawn_rows) and all(_is_outlined(drawn_rows[0][side]) for side in ("here", "there")),
            "counter": [rows(match) for match in each.counter],
            "counter_others": number(each.counter_other_points),
        }

    return distributed.share_out(range(len(explanations)), panel)


def _is_outlined(drawn: Mapping) -> bool:
    """Tell whether the map that is seen first has an outline."""
    return bool(drawn["layers"] and drawn["layers"][0]["path"])


def _row(
    match: Match,
    *,
    explanation: Explanation,
    localizers: Sequence[str],
    reach: float,
    level: float,
    quality: int,
    side: int,
    drawn: dict,
    names: Namer,
) -> dict:
    record = match.prototype.record
    name = names(record.class_name)
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
            quality=quality,
            side=side,
            levels=record.levels,
            nothing_to_keep=match.nothing_to_keep,
        ),
        "there": drawn.get(record.prototype)
        or _source(match.prototype, match.prototype.maps, localizers, level, quality, side, names),
    }


def _points(points: float, reach: float) -> dict:
    return {"points": number(points), "share": round(100 * abs(points) / reach, 1), "negative": points < 0}


def are_pooled(pictures: Sequence[PrototypePicture]) -> bool:
    """Tell whether prototypes are pooled under learned maps, as XProtoNet's, whose similarity map has a level of its
    own; else they are patches."""
    return bool(pictures) and "similarity" in pictures[0].record.levels


def localizer_switch(localizers: Sequence[str], pooled: bool = False) -> list[dict]:
    from protomask.report.palette import look

    return [
        {
            "slot": slot,
            "name": name,
            "label": localizer_label(name),
            "look": look(name),
            "shows": shows(name, pooled=pooled),
        }
        for slot, name in enumerate(localizers)
    ]
