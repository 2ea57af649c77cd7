"""The top of the page in plain words, and its foot: what the run was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from protomask.explanations.records import PrototypePicture
from protomask.report.wording import count, duration, number, percent, readable
from protomask.statistics import wilson

NETWORKS = {"protopnet": "ProtoPNet", "xprotonet": "XProtoNet"}
DATA = {
    "parts": "the embedded creatures (parts)",
    "cub": "birds (CUB-200-2011 format)",
    "folder": "a folder of images",
    "busi": "breast ultrasound (BUSI)",
    "chestxray": "chest X-rays (NIH ChestX-ray14)",
}


def title(config: Mapping) -> str:
    options = config.get("options", config)
    network, data = options.get("network"), options.get("data")
    name = NETWORKS.get(network, network or "Prototype network")
    return f"{name} on {DATA.get(data, data)}" if data else str(name)


def accuracy(metrics: Mapping, config: Mapping) -> dict:
    """Figures, sentences and a table of classes about accuracy: before and after projection, at the end, and without
    prototypes.

    An interval is Wilson's for the number of test images, where ``config["data"]["test"]`` tells it: the luck of the
    test set, not that of training.
    """
    scores = {name: value for name, value in (metrics.get("test_accuracy") or {}).items() if value is not None}
    areas = {name: value for name, value in (metrics.get("test_auroc") or {}).items() if value is not None}
    findings = bool(isinstance(config.get("data"), Mapping) and config["data"].get("multi_label"))
    black_box = metrics.get("black_box_accuracy")
    images = (config.get("data") or {}).get("test") if isinstance(config.get("data"), Mapping) else None
    head = next((name for name in ("final", "after_projection", "before_projection") if name in scores), None)
    figures, sentences = [], []
    if head:
        # Answers about the findings of one image are not independent.
        interval = wilson(scores[head], images) if images and not findings else None
        note = (
            f"95\N{NO-BREAK SPACE}% interval {percent(interval[0])} to {percent(interval[1])}, {count(images, 'image')}"
            if interval
            else ""
        )
        label = "right answers on test images, over all findings" if findings else "test accuracy"
        figures.append({"value": percent(scores[head]), "label": label, "note": note})
        if head in areas:
            kind = "findings" if findings else "classes"
            figures.append(
                {"value": number(areas[head]), "label": "AUROC", "note": f"mean over {kind}, each against the rest"}
            )
        sentences.append(_course(scores, head))
    for name, label, note in (
        ("before_projection", "before projection", "prototypes still free vectors"),
        ("after_projection", "after projection", "prototypes are training patches"),
    ):
        if name in scores and name != head:
            figures.append({"value": percent(scores[name]), "label": label, "note": note})
    if black_box is not None:
        figures.append(
            {"value": percent(black_box), "label": "plain classifier", "note": "same backbone, no prototypes"}
        )
        if head:
            sentences.append(_price(scores[head], black_box))
    elif head:
        sentences.append(
            "What the prototypes cost in accuracy against the same backbone as a plain classifier was not measured."
        )
    if metrics.get("pruned"):
        sentences.append(_pruning(metrics["pruned"]))
    rows = [
        (
            readable(name),
            f"AUROC {number(row['auroc'])}, average precision {number(row['average_precision'])}, "
            f"{count(row['images'], 'test image')}",
        )
        for name, row in (metrics.get("per_class") or {}).items()
    ]
    table = {"title": f"Each {'finding' if findings else 'class'} against the rest", "rows": rows} if rows else None
    return {"figures": figures, "sentences": [text for text in sentences if text], "table": table}


def inspected(pictures: Sequence[PrototypePicture]) -> list[str]:
    """What the inspection found, in sentences."""
    found = [each.inspection for each in pictures if each.inspection is not None]
    if not found:
        return []
    sentences = []
    known = [each for each in found if each.outside]
    background = sum("background" in each.flags for each in found)
    if known and background:
        sentences.append(
            f"{background} of {count(len(known), 'prototype')} {'is' if background == 1 else 'are'} background: more "
            "than half of the "
            "learned mask lies outside the object in the training image that the prototype was taken from."
        )
    elif known:
        sentences.append("No prototype's mask lies mostly outside the object.")
    else:
        sentences.append(
            "Whether prototypes are background is not known: these data have no masks, and no boxes smaller than the "
            "image."
        )
    twins = sum("duplicate" in each.flags for each in found)
    if twins:
        sentences.append(
            f"{count(twins, 'prototype is a duplicate', 'prototypes are duplicates')} of another one of the same class."
        )
    if background or twins:
        sentences.append("protomask prune removes flagged prototypes and says what that costs in accuracy.")
    return sentences


def _course(scores: Mapping, head: str) -> str:
    if "before_projection" not in scores or "after_projection" not in scores:
        return ""
    change = 100 * (scores["after_projection"] - scores["before_projection"])
    if abs(change) < 0.05:
        text = "Tying every prototype to a real training patch (projection) left the accuracy as it was"
    else:
        verb = "cost" if change < 0 else "gained"
        text = f"Tying every prototype to a real training patch (projection) {verb} {_points(change)}"
    if head == "final":
        text += f"; re-fitting the last layer then {_moved(100 * (scores['final'] - scores['after_projection']))}"
    return text + "."


def _pruning(outcome: Mapping) -> str:
    scores = outcome["test_accuracy"]
    removed = len(outcome["removed"])
    return (
        f"{removed} of {outcome['prototypes']} prototypes were removed from {outcome['from']}: test accuracy was "
        f"{percent(scores['before'])} "
        f"with them, {percent(scores['without_refitting'])} without, and {percent(scores['after'])} once the last "
        "layer "
        f"was re-fitted ({count(outcome['right_to_wrong'], 'image')} became wrong, {outcome['wrong_to_right']} right)."
    )


def _moved(change: float) -> str:
    return "changed nothing" if abs(change) < 0.05 else f"{'gained' if change > 0 else 'cost'} {_points(change)}"


def _price(own: float, black_box: float) -> str:
    change = 100 * (own - black_box)
    if abs(change) < 0.05:
        return "The same backbone as a plain classifier is as accurate: the prototypes cost nothing here."
    return (
        f"The same backbone as a plain classifier is {'more' if change < 0 else 'less'} accurate by {_points(change)}: "
        + ("the price of the prototypes." if change < 0 else "here the prototypes help.")
    )


def _points(change: float) -> str:
    return f"{abs(change):.1f} percentage point{'' if f'{abs(change):.1f}' == '1.0' else 's'}"


def provenance(config: Mapping, metrics: Mapping) -> list[dict]:
    """Everything in ``config`` as tables of (name, value), one per nested mapping, and the seconds of each stage."""
    tables, loose = [], []
    for name, value in config.items():
        if isinstance(value, Mapping):
            tables.append(
                {
                    "title": name.replace("_", " ").capitalize(),
                    "rows": [(key, _plain(entry)) for key, entry in _flat(value)],
                }
            )
        else:
            loose.append((name, _plain(value)))
    if loose:
        tables.insert(0, {"title": "Configuration", "rows": loose})
    seconds = metrics.get("seconds") or {}
    if seconds:
        rows = [(name.replace("_", " "), duration(value)) for name, value in seconds.items()]
        rows.append(("together", duration(sum(value for value in seconds.values() if value is not None))))
        tables.append({"title": "Time", "rows": rows})
    return tables


def _flat(values: Mapping, before: str = ""):
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _plain(value) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
