"""Which metrics data and network allow."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from protomask.capabilities import HasJudge, HasSimilarityMaps
from protomask.data import AnnotatedImages
from protomask.data.images import Sample
from protomask.data.removable import HasRemovableParts, HasRemovableSets
from protomask.errors import InputError, did_you_mean
from protomask.evaluation.batch import drop_full_regions
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.pairs import Pairs
from protomask.explainable import Explainable
from protomask.given import short
from protomask.metrics.localization import box_regions
from protomask.places import as_places
from protomask.prototype_network import PrototypeNetwork

NEEDS = {
    "boxes": "boxes smaller than the image",
    "mask": "object masks",
    "parts": "parts that can be removed",
    "sets of parts": "scenes that can be rendered without several parts",
    "part points": "part locations and a prototype network",
    "similarity maps": "a network with similarity maps",
    "parameters": "a network that is a torch module",
    "classes": "more than one class",
    "prototypes": "a prototype network",
    "last layer": "a prototype network with a last layer",
    "mask of prototypes": "object masks and a prototype network",
    "judge": "a second network of the same classes (judge)",
}
"""what a metric may need, in words"""


def available_metrics(
    data: AnnotatedImages, positions: Iterable[int], explained: Explainable | None = None
) -> list[str]:
    """Name the metrics that ``data`` and ``explained`` allow.

    Those for which ``data`` holds the truth in at least one image of ``positions``, and ``explained`` what they ask
    for.

    Images are read until one does. Without ``explained`` it is taken to have all that a prototype network has.
    """
    missing, held = {"boxes", "mask"}, set()
    for position in as_places(positions, "positions").tolist():
        sample = data[position]
        if "boxes" in missing and drop_full_regions(_box_regions(sample)).any():
            held.add("boxes")
        if "mask" in missing and "mask" in sample and drop_full_regions(sample["mask"].as_subclass(Tensor) > 0).any():
            held.add("mask")
        if "points" in sample and len(sample["points"]):
            held.add("part points")
        missing -= held
        if not missing:
            break
    if isinstance(data, HasRemovableParts):
        held |= {"parts", "sets of parts"} if isinstance(data, HasRemovableSets) else {"parts"}
    if explained is None or isinstance(explained, HasSimilarityMaps):
        held.add("similarity maps")
    if explained is None or isinstance(explained, PrototypeNetwork):
        held |= {"prototypes", "mask of prototypes"} if "mask" in held else {"prototypes"}
        if explained is None or isinstance(getattr(explained, "last_layer", None), torch.nn.Linear):
            held.add("last layer")
    else:
        held.discard("part points")  # which are looked for at the maximum of a prototype
    if len(data.classes) > 1:
        held.add("classes")
    if isinstance(explained, HasJudge):
        held.add("judge")
    if explained is None or isinstance(explained, torch.nn.Module):
        held.add("parameters")
    return [name for name, metric in METRICS.items() if metric.needs is None or metric.needs in held]


def _box_regions(sample: Sample) -> Tensor:
    """(R, H, W) bool, the regions that a pair may be measured by: one for each finding that has boxes of its own."""
    boxes, findings = sample["boxes"].as_subclass(Tensor), sample.get("box_labels")
    if findings is None or not len(boxes):
        groups = [boxes]
    else:
        groups = [boxes[findings == finding] for finding in findings.unique()]
    return box_regions(groups, *sample["image"].shape[-2:])


def choose_metrics(
    metrics: str | Iterable[str] | None, data: AnnotatedImages, pairs: Pairs, explained: Explainable
) -> list[str]:
    """Resolve ``metrics`` (names, or a text of names separated by commas) to names, in order, each once.

    Raises:
        InputError: no list of names; a name that is unknown, or that data or network do not allow.
    """
    if isinstance(metrics, str):
        metrics = [name.strip() for name in metrics.split(",") if name.strip()]
    try:
        metrics = list(metrics or ())  # it is gone through several times
    except TypeError:
        raise InputError(f"metrics is {short(metrics)}; give names, metrics=['insertion', 'deletion']") from None
    for name in metrics:
        if not isinstance(name, str) or (name not in METRICS and name != "all"):
            mend = did_you_mean(str(name), METRICS)
            raise InputError(f"metric {name!r} is unknown; choose from {', '.join(METRICS)}, or all{mend}")
    available = available_metrics(data, pairs.positions.tolist(), explained)
    for name in metrics:
        if name not in available and name != "all":
            raise InputError(
                f"metric {name!r} needs {NEEDS[METRICS[name].needs or '']}, which is not so here; "
                f"there can be {', '.join(available)}"
            )
    if "all" in metrics:
        return available
    return list(dict.fromkeys(metrics)) if metrics else [name for name in available if METRICS[name].usual]
