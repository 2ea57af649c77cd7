"""Every pair measured with every localizer, batch by batch, by all processes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.evaluation.batch import Batch, Subject
from protomask.evaluation.cases import Case
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.maps import Maps
from protomask.evaluation.own_metrics import told_by
from protomask.evaluation.pairs import Pairs
from protomask.evaluation.store import Store, Stores, extend_names

CURVES = ("insertion", "deletion")
"""metrics that are the area below a curve, which is kept, too"""


@dataclass(frozen=True)
class Values:
    """A column: what a metric gives for each pair."""

    metric: str

    def key(self) -> str | None:
        """Name the column in the store by its metric and what that does; None where nobody can tell it."""
        told = told_by(METRICS[self.metric].measure)
        return None if told is None else f"{self.metric} {told}"

    def measure(self, case: Case) -> Tensor:
        """Measure a batch, (B, ...)."""
        return METRICS[self.metric].measure(case)


@dataclass(frozen=True)
class Curve:
    """A column: the scores along the curve of one of ``CURVES``."""

    metric: str

    def key(self) -> str | None:
        """Name the column in the store."""
        return f"{self.metric} curve"

    def measure(self, case: Case) -> Tensor:
        """Measure a batch, (B, T)."""
        return (case.insertion if self.metric == "insertion" else case.deletion).scores


Column = Values | Curve


class Columns(NamedTuple):
    """What was measured of one localizer's maps, on the CPU."""

    values: Mapping[Column, Tensor]
    """(n, ...) each"""
    seconds: Tensor
    """(n,) float64, what each map cost; (0,) where nobody asked"""


class Measured(NamedTuple):
    """A localizer's maps, and the stores of what metrics made of them."""

    maps: Maps
    stores: Stores

    def store(self, column: Column) -> Store:
        """Give the store of a column's values."""
        return self.stores.judged if METRICS[column.metric].needs == "judge" else self.stores.values


def measure_pairs(
    subject: Subject,
    data: AnnotatedImages,
    localizers: Sequence[Measured],
    pairs: Pairs,
    columns: Sequence[Column],
    batch_size: int,
    device: torch.device | str,
    bar: tqdm,
    *,
    timed: bool = True,
) -> dict[str, Columns]:
    """Measure all pairs, each process its share: localizer -> what was measured, of all of them.

    Args:
        timed: whether to tell what each map cost, for which all are made; else only those that the columns ask for.
    """
    names = [each.maps.name for each in localizers]
    found: dict[str, dict[Column, list[Tensor]]] = {name: {column: [] for column in columns} for name in names}
    seconds: dict[str, list[Tensor]] = {name: [] for name in names}
    together = batch_length(len(pairs), batch_size)
    keys = {column: column.key() for column in columns}  # once: whole packages may be read for them
    mine = torch.tensor(list(distributed.shard(len(pairs), together)), dtype=torch.long)
    for places in mine.split(together):
        if not len(places):
            continue
        batch = Batch(subject, data, pairs.positions[places].tolist(), pairs.prototypes[places], device, batch_size)
        for name, localizer in zip(names, localizers):
            bar.set_postfix_str(name)
            for column, values in _measure(batch, localizer, keys).items():
                found[name][column].append(values)
            if timed:
                seconds[name].append(torch.tensor(localizer.maps.seconds_of(batch), dtype=torch.float64))
            bar.update(len(places))
    everybody = distributed.gather((found, seconds))
    return {
        name: Columns(
            {
                column: torch.cat([values for found, _ in everybody for values in found[name][column]])
                for column in columns
            },
            torch.cat(
                [torch.empty(0, dtype=torch.float32), *(values for _, seconds in everybody for values in seconds[name])]
            ),
        )
        for name in names
    }


def batch_length(count: int, batch_size: int) -> int:
    """Give the greatest batch, at most ``batch_size``, of which all processes have equally many of ``count`` pairs:
    none waits long for another."""
    batches = -(-count // batch_size)
    batches = -(-batches // distributed.size()) * distributed.size()
    return -(-count // batches)


def _measure(batch: Batch, localizer: Measured, keys: Mapping[Column, str | None]) -> dict[Column, Tensor]:
    """Take what the store holds of this batch; measure what it does not hold, and store what has a key."""
    found, case = {}, Case(batch, localizer.maps)
    fresh: dict[Store, dict[str, Tensor]] = {}
    for column, key in keys.items():
        store = localizer.store(column)
        names = None if key is None else _names(batch, column, key)
        stored = None if names is None else store.get(names)
        if stored is not None:
            found[column] = torch.stack(stored)
            continue
        found[column] = column.measure(case).detach().cpu()
        if names is not None:
            fresh.setdefault(store, {}).update(zip(names, found[column]))
    for store, tensors in fresh.items():
        store.put(tensors)
    return found


def _names(batch: Batch, column: Column, key: str) -> list[str]:
    """Name a column's value of each pair by all that it depends on."""
    beside = METRICS[column.metric].beside
    names = batch.truth_names if beside is None else extend_names(batch.truth_names, beside(batch))
    return [f"{name}/{key}" for name in names]
