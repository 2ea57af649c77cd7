"""The top of the page in plain words, and its foot: what the run was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from protomask.explanations.records import PrototypePicture
from protomask.report.wording import count, duration, spoken

NETWORKS = {"protopnet": "ProtoPNet", "xprotonet": "XProtoNet"}
DATA = {
    "parts": "the embedded creatures (parts)",
    "cub": "birds (CUB-200-2011 format)",
    "folder": "a folder of images",
    "busi": "breast ultrasound (BUSI)",
    "chestxray": "chest X-rays (NIH ChestX-ray14)",
}

NAMED_BY_FOLDER = {"folder": "", "cub": " (CUB-200-2011 format)"}
"""data sets whose own name is that of their folder, and what is added to it"""


def title(config: Mapping) -> str:
    options = config.get("options", config)
    network, data = options.get("network"), options.get("data")
    name = NETWORKS.get(network, network or "Prototype network")
    if not data:
        return str(name)
    own = Path(str(options["root"])).name if options.get("root") else ""
    kind, _, source = str(data).partition(":")
    if kind == "hf":
        return f"{name} on {own or Path(source).name}"
    if own and data in NAMED_BY_FOLDER:
        return f"{name} on {own}{NAMED_BY_FOLDER[data]}"
    return f"{name} on {DATA.get(data, data)}"


def inspected(pictures: Sequence[PrototypePicture]) -> list[str]:
    """Say what the inspection found, in sentences."""
    found = [each.inspection for each in pictures if each.inspection is not None]
    if not found:
        return []
    sentences = []
    known = [each for each in found if each.outside]
    background = sum("background" in each.flags for each in found)
    whose = (
        ""
        if len(known) == len(found)
        else " whose own object is known in its training image, and whose map is not blank,"
    )
    looked = _map_of(next(iter(known[0].outside))) if known else ""
    if background:
        sentences.append(
            f"{background} of {count(len(known), 'prototype')}{whose} {'is' if background == 1 else 'are'} background: "
            f"more than half of {looked}, with its parts too faint to be outlined, lies outside the object in "
            "the training image that the prototype was taken from."
        )
    elif known:
        sentences.append(f"No prototype{whose} has more than half of {looked} outside the object.")
    else:
        sentences.append(
            "Whether prototypes are background is not known: the training images that they were taken from have no "
            "masks, and no boxes of what they stand for that are smaller than the image, or the maps are blank."
        )
    twins = sum("duplicate" in each.flags for each in found)
    if twins:
        sentences.append(
            f"{count(twins, 'prototype is a duplicate', 'prototypes are duplicates')} of another one of the same class."
        )
    common = sum("common" in each.flags for each in found)
    if common:
        own = "its" if common == 1 else "their"
        sentences.append(
            f"{count(common, 'prototype is', 'prototypes are')} common: as similar to test images of other classes as "
            f"to those of {own} own."
        )
    if background or twins or common:
        sentences.append("protomask prune removes flagged prototypes and says what that costs in accuracy.")
    return sentences


def _map_of(localizer: str) -> str:
    """Name a localizer's map within a sentence: "the map of MDM", "the similarity map"."""
    words = spoken(localizer)
    return words if words.startswith(("the ", "a ")) else f"the map of {words}"


def provenance(config: Mapping, metrics: Mapping) -> list[dict]:
    """Give everything in ``config`` as tables of (name, value), one per nested mapping, and each stage's seconds."""
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
