"""Localizers x metrics over (image, prototype) pairs: one table with confidence intervals.

>>> pairs = choose_pairs(network, test, samples=100)                            # doctest: +SKIP
>>> found = evaluate(network, test, {"mdm": MDM(), "similarity": Similarity()}, pairs)       # doctest: +SKIP
>>> print(found.table(), found.verdict("mdm", "similarity"), sep="\\n")          # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.capabilities import HasJudge, HasSimilarityMaps, class_of_index
from protomask.data import AnnotatedImages
from protomask.data.removable import HasRemovableParts, HasRemovableSets
from protomask.errors import InputError
from protomask.evaluation.batch import Batch, Subject, drop_full_regions
from protomask.evaluation.cases import Case
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.maps import Maps
from protomask.evaluation.pairs import Pairs, device_of
from protomask.evaluation.results import Evaluation
from protomask.evaluation.store import Store, open_stores
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.metrics.localization import box_regions
from protomask.prototype_network import PrototypeNetwork

NEEDS = {
    "boxes": "boxes smaller than the image",
    "mask": "object masks",
    "parts": "parts that can be removed",
    "sets of parts": "scenes that can be rendered without several parts",
    "part points": "part locations",
    "similarity maps": "a network with similarity maps",
    "parameters": "a network that is a torch module",
    "classes": "more than one class",
    "prototypes": "a prototype network",
    "last layer": "a prototype network with a last layer",
    "mask of prototypes": "object masks and a prototype network",
    "judge": "a second network of the same classes (judge)",
}
"""what a metric may need, in words"""
CURVES = ("insertion", "deletion")


def available_metrics(
    data: AnnotatedImages, positions: Iterable[int], explained: Explainable | None = None
) -> list[str]:
    """Name the metrics that ``data`` and ``explained`` allow.

    Those for which ``data`` holds the truth in at least one image of ``positions``, and ``explained`` what they ask
    for.

    Images are read until one does. Without ``explained`` it is taken to have all that a prototype network has.
    """
    missing, held = {"boxes", "mask"}, set()
    for position in positions:
        sample = data[position]
        height, width = sample["image"].shape[-2:]
        if (
            "boxes" in missing
            and drop_full_regions(box_regions([sample["boxes"].as_subclass(Tensor)], height, width)).any()
        ):
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
    if len(data.classes) > 1:
        held.add("classes")
    if isinstance(explained, HasJudge):
        held.add("judge")
    if explained is None or isinstance(explained, torch.nn.Module):
        held.add("parameters")
    return [name for name, metric in METRICS.items() if metric.needs is None or metric.needs in held]


def evaluate(
    network: Explainable,
    data: AnnotatedImages,
    localizers: Mapping[str, Callable],
    pairs: Pairs,
    *,
    metrics: Sequence[str] | None = None,
    prototype_pairs: Pairs | None = None,
    similar_pairs: Pairs | None = None,
    seed: int = 0,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure every localizer's maps of the same pairs.

    In a job of several processes (:mod:`protomask.distributed`) each takes a share of the pairs and all get the result.

    Args:
        network: usually a prototype network; anything with ``score``, on ``device``. Left exactly as it was.
        data: with the evaluation transform; ``pairs.positions`` point into it.
        localizers: name -> ``localizer(network, images, index) -> (B, H, W)`` in [0, 1].
        pairs: see :func:`choose_pairs`.
        metrics: names out of ``METRICS``; None takes the usual ones that data and network allow, ``["all"]`` all of
            them.
        prototype_pairs: several images of each prototype, for the metrics that are a number per prototype
            (:func:`protomask.evaluation.choose_prototype_pairs`); by default ``pairs``.
        similar_pairs: the images most similar to each of the same prototypes, for purity
            (:func:`protomask.evaluation.choose_similar_pairs`); by default ``prototype_pairs``.
        seed: of the bootstrap.
        batch_size: pairs localised together, and perturbed images scored together.
        device: where the network is; by default where its first parameter is.
        cache: folder that keeps maps and values; what is there already, for the same weights, images and code, is not
            computed again.
        progress: show a bar.

    Raises:
        InputError: nothing to evaluate; an unknown metric, or one whose truth the data does not hold; a map or a score
            that is not finite (the message names localizer and image).
    """
    if not localizers or not len(pairs):
        raise InputError(f"evaluate: {len(localizers)} localizers and {len(pairs)} pairs; give at least one of each")
    chosen = choose_metrics(metrics, data, pairs, network)
    device = device or device_of(network)
    given = {"pairs": pairs, "class": prototype_pairs or pairs, "similar": similar_pairs or prototype_pairs or pairs}
    groups = {kind: (given[kind], [name for name in chosen if _group(name) == kind]) for kind in given}
    looked_at = [group.prototypes.unique() for kind, (group, wanted) in groups.items() if wanted and kind != "pairs"]
    if any(not torch.equal(each, looked_at[0]) for each in looked_at):
        raise InputError("evaluate: prototype_pairs and similar_pairs are of different prototypes; give the same")
    kept = {name: open_stores(cache, network, name, localizer) for name, localizer in localizers.items()}
    maps = {name: Maps(name, localizer, kept[name][0]) for name, localizer in localizers.items()}
    raw: dict[str, dict[str, Tensor]] = {name: {} for name in localizers}
    count = len(localizers) * sum(
        len(distributed.shard(len(group), _even(len(group), batch_size))) for group, wanted in groups.values() if wanted
    )
    with (
        frozen(network),
        tqdm(total=count, desc="evaluate", unit="map", disable=not progress or not distributed.is_first()) as bar,
    ):
        subject = Subject(network)
        for group, wanted in groups.values():
            columns = [*wanted, *(f"{kind} curve" for kind in CURVES if kind in wanted)]
            if wanted:
                for name, found in _measure(subject, data, maps, kept, group, columns, batch_size, device, bar).items():
                    raw[name] |= found
    values = {
        name: {metric: _finish(metric, found[metric], groups) for metric in chosen} for name, found in raw.items()
    }
    return Evaluation.summarise(
        pairs,
        [data.names[position] for position in pairs.positions.tolist()],
        values,
        {name: float(found["seconds"].mean()) for name, found in raw.items()},
        {name: {kind: found[f"{kind} curve"] for kind in CURVES if kind in chosen} for name, found in raw.items()},
        classes=_class_names(network, data, pairs),
        prototypes=looked_at[0] if looked_at else None,
        seed=seed,
    )


def choose_metrics(
    metrics: Sequence[str] | None, data: AnnotatedImages, pairs: Pairs, explained: Explainable
) -> list[str]:
    """Resolve ``metrics`` to names, in order, each once.

    Raises:
        InputError: a name that is unknown, or that data or network do not allow.
    """
    for name in metrics or ():
        if name not in METRICS and name != "all":
            raise InputError(f"metric {name!r} is unknown; choose from {', '.join(METRICS)}, or all")
    available = available_metrics(data, pairs.positions.tolist(), explained)
    for name in metrics or ():
        if name not in available and name != "all":
            raise InputError(
                f"metric {name!r} needs {NEEDS[METRICS[name].needs or '']}, which is not so here; "
                f"there can be {', '.join(available)}"
            )
    if metrics and "all" in metrics:
        return available
    return list(dict.fromkeys(metrics)) if metrics else [name for name in available if METRICS[name].usual]


def _measure(
    subject: Subject,
    data: AnnotatedImages,
    maps: dict[str, Maps],
    kept: dict[str, tuple[Store, Store]],
    pairs: Pairs,
    columns: list[str],
    batch_size: int,
    device: torch.device | str,
    bar: tqdm,
) -> dict[str, dict[str, Tensor]]:
    """Measure all pairs: localizer -> column (a metric, a curve, ``seconds``) -> (n, ...), on the CPU."""
    found: dict[str, dict[str, list[Tensor]]] = {
        name: {column: [] for column in (*columns, "seconds")} for name in maps
    }
    together = _even(len(pairs), batch_size)
    mine = torch.tensor(list(distributed.shard(len(pairs), together)), dtype=torch.long)
    for places in mine.split(together):
        if not len(places):
            continue
        batch = Batch(subject, data, pairs.positions[places].tolist(), pairs.prototypes[places], device, batch_size)
        for name, localize in maps.items():
            bar.set_postfix_str(name)
            for column, values in _columns(batch, localize, kept[name][1], columns).items():
                found[name][column].append(values)
            found[name]["seconds"].append(torch.tensor(localize.seconds_of(batch), dtype=torch.float64))
            bar.update(len(places))
    everybody = distributed.gather(found)
    return {
        name: {
            column: torch.cat([values for each in everybody for values in each[name][column]])
            for column in (*columns, "seconds")
        }
        for name in maps
    }


def _even(count: int, batch_size: int) -> int:
    """The greatest batch, at most ``batch_size``, of which all processes have equally many: none waits long for
    another."""
    batches = -(-count // batch_size)
    batches = -(-batches // distributed.size()) * distributed.size()
    return -(-count // batches)


def _columns(batch: Batch, localize: Maps, store: Store, columns: list[str]) -> dict[str, Tensor]:
    """Take what the store holds of this batch; measure and store what it does not hold."""
    found, case = {}, Case(batch, localize)
    fresh: dict[str, Tensor] = {}
    for column in columns:
        names = [f"{name}/{column}" for name in batch.truth_names]
        stored = store.get(names)
        if stored is None:
            kind, _, curve = column.partition(" ")
            values = getattr(case, kind).scores if curve else METRICS[column].measure(case)
            found[column] = values.detach().cpu()
            fresh |= dict(zip(names, found[column]))
        else:
            found[column] = torch.stack(stored)
    store.put(fresh)
    return found


def _group(metric: str) -> str:
    """Name the pairs that a metric is measured on: ``"pairs"``, or of prototypes ``"class"`` or ``"similar"``."""
    entry = METRICS[metric]
    return ("similar" if entry.most_similar else "class") if entry.of_prototypes else "pairs"


def _finish(metric: str, measured: Tensor, groups: dict[str, tuple[Pairs, list[str]]]) -> Tensor:
    entry = METRICS[metric]
    return measured if entry.finish is None else entry.finish(measured, groups[_group(metric)][0].prototypes)


def _class_names(network: Explainable, data: AnnotatedImages, pairs: Pairs) -> list[str]:
    """Name the prototypes' classes; for a plain classifier the classes themselves."""
    owners = class_of_index(network, len(data.classes))
    return [data.classes[label] for label in owners[pairs.prototypes].tolist()]
