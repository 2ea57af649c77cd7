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
from protomask.capabilities import classes_of, gives_probabilities
from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.evaluation.availability import choose_metrics
from protomask.evaluation.batch import Subject
from protomask.evaluation.catalogue import METRICS, Over
from protomask.evaluation.maps import Maps
from protomask.evaluation.measuring import CURVES, Column, Curve, Measured, Values, batch_length, measure_pairs
from protomask.evaluation.pairs import Pairs, check_pairs_fit, device_of, each_image_once
from protomask.evaluation.results import Evaluation
from protomask.evaluation.store import open_stores
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.given import as_count, as_flag, refuse_run
from protomask.localizers import as_localizer


def evaluate(
    network: Explainable,
    data: AnnotatedImages,
    localizers: Mapping[str, Callable],
    pairs: Pairs,
    *,
    metrics: str | Iterable[str] | None = None,
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
        pairs: see :func:`choose_pairs`. A score of your own may have more indices than the data have classes; they are
            of no class then.
        metrics: names out of ``METRICS``; None takes the usual ones that data and network allow, ``["all"]`` all of
            them. Scores that are log-probabilities are measured as probabilities.
        prototype_pairs: several images of each prototype, for the metrics that are a number per prototype
            (:func:`protomask.evaluation.choose_prototype_pairs`); by default ``pairs``. ``discrimination`` ranks their
            images and those of ``pairs``, each once.
        similar_pairs: the images most similar to each of the same prototypes, for purity
            (:func:`protomask.evaluation.choose_similar_pairs`); by default ``prototype_pairs``.
        seed: of the bootstrap.
        batch_size: pairs localised together, and perturbed images scored together.
        device: where the network is; by default where its first parameter is.
        cache: folder that keeps maps and values; what is there already, for the same weights, images and code, is not
            computed again.
        progress: show a bar.

    Raises:
        InputError: nothing to evaluate; pairs of other data or another network; an unknown metric, or one whose truth
            the data does not hold; a map or a score that is not finite (the message names localizer and image).
    """
    refuse_run(network)
    if not isinstance(localizers, Mapping):
        raise InputError(
            f"localizers is of type {type(localizers).__name__}; give localizers by name, {{'mdm': MDM()}}"
        )
    if not localizers or not len(pairs):
        raise InputError(f"evaluate: {len(localizers)} localizers and {len(pairs)} pairs; give at least one of each")
    seed, batch_size = as_count(seed, "seed", 0), as_count(batch_size, "batch_size")
    progress = as_flag(progress, "progress")
    localizers = {name: as_localizer(each) for name, each in localizers.items()}
    for given in (pairs, prototype_pairs, similar_pairs):
        if given is not None:
            check_pairs_fit(given, network, data)
    chosen = choose_metrics(metrics, data, pairs, network)
    device = device or device_of(network)
    groups = {
        Over.PAIRS: pairs,
        Over.CLASS: prototype_pairs or pairs,
        Over.MOST_SIMILAR: similar_pairs or prototype_pairs or pairs,
        Over.IMAGES: each_image_once(pairs, prototype_pairs or pairs),
    }
    asked_of = {over: groups[Over.CLASS if over is Over.IMAGES else over].prototypes for over in Over}
    wanted = {over: [name for name in chosen if METRICS[name].over is over] for over in Over}
    prototypes = [asked_of[over].unique() for over in Over if over is not Over.PAIRS and wanted[over]]
    if any(not torch.equal(each, prototypes[0]) for each in prototypes):
        raise InputError("evaluate: prototype_pairs and similar_pairs are of different prototypes; give the same")
    measured = [
        Measured(Maps(name, localizers[name], stores.maps), stores)
        for name, stores in open_stores(cache, network, localizers).items()
    ]
    columns: dict[str, dict[Column, Tensor]] = {name: {} for name in localizers}
    seconds: dict[str, Tensor] = {}
    with frozen(network), _bar(measured, [groups[over] for over in Over if wanted[over]], batch_size, progress) as bar:
        subject = Subject(network)
        for over in Over:
            names = wanted[over]
            asked: list[Column] = [*map(Values, names), *(Curve(name) for name in CURVES if name in names)]
            if not asked:
                continue
            timed = over is not Over.IMAGES or not seconds  # else maps would be made for their cost alone
            found = measure_pairs(subject, data, measured, groups[over], asked, batch_size, device, bar, timed=timed)
            for name, each in found.items():
                columns[name] |= each.values
                if timed:
                    seconds[name] = each.seconds
    return Evaluation.summarise(
        pairs,
        [data.names[position] for position in pairs.positions.tolist()],
        {name: {metric: _finish(metric, own, asked_of) for metric in chosen} for name, own in columns.items()},
        {name: float(each.mean()) for name, each in seconds.items()},
        {name: {kind: own[Curve(kind)] for kind in CURVES if kind in chosen} for name, own in columns.items()},
        classes=_class_names(network, data, pairs),
        prototypes=prototypes[0] if prototypes else None,
        of_classifier=isinstance(network, Classifier),
        of_probabilities=gives_probabilities(network),
        seed=seed,
    )


def _bar(measured: Sequence[Measured], groups: Sequence[Pairs], batch_size: int, progress: bool) -> tqdm:
    """Show a bar of the maps that this process makes."""
    shares = [len(distributed.shard(len(each), batch_length(len(each), batch_size))) for each in groups]
    hidden = not progress or not distributed.is_first()
    return tqdm(total=len(measured) * sum(shares), desc="evaluate", unit="map", disable=hidden)


def _finish(metric: str, columns: Mapping[Column, Tensor], prototypes: Mapping[Over, Tensor]) -> Tensor:
    entry, found = METRICS[metric], columns[Values(metric)]
    return found if entry.finish is None else entry.finish(found, prototypes[entry.over])


def _class_names(network: Explainable, data: AnnotatedImages, pairs: Pairs) -> list[str]:
    """Name the prototypes' classes; for a plain classifier the classes themselves. What is none of the data's has no
    name."""
    numbers = classes_of(network, len(data.classes), pairs.prototypes).tolist()
    return [data.classes[number] if 0 <= number < len(data.classes) else "" for number in numbers]
