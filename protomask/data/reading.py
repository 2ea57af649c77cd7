"""What has to be known of a torch Dataset before its images are used: :class:`Reading`."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from protomask.data.images import Sample
from protomask.data.known import known_labels, known_paths, short_names
from protomask.data.samples import Item, as_label, as_sample, take_apart
from protomask.errors import InputError, type_named

_LOOKED_AT = 8  # items of each data set that are read at the start, evenly spread


def read_item(data: Any, index: int, what: str) -> Item:
    """Read item ``index`` of a data set; InputError, beginning with ``what``, where it cannot be read."""
    try:
        item = data[index]
    except InputError:
        raise
    except Exception as error:  # whatever the data set's own code and files raise
        reason = " ".join(str(error).split())
        raise InputError(f"{what}: the data set cannot read it ({type(error).__name__}: {reason})") from error
    return take_apart(item, what)


def check_annotations(item: Item, expected: frozenset[str], what: str) -> None:
    """Raise InputError unless the item has the ``expected`` annotations: some measures ask every image for them."""
    found = _needed(item)
    for name in sorted(found ^ expected):
        one, other = ("has no", "others have") if name in expected else ("has", "others have none")
        raise InputError(f"{what}: {one} {name!r}, though {other}; give it for every item, or for none")


def _needed(item: Item) -> frozenset[str]:
    return frozenset(item.extras) & {"mask", "points", "box_labels"}


class Reading:
    """Find labels, names and annotations of one data set, with as little reading as possible.

    Args:
        data: map-style.
        split: ``train``, ``test`` or ``validation``, or another name of the data set; named in errors.
        classes: names, or None where nobody knows them.
        part_names: of the points; None for their numbers.
        progress: show a bar while every item is read, on a terminal.

    Raises:
        InputError: an item, or the data set, is not as :func:`protomask.data.from_datasets` says.
    """

    def __init__(self, data: Any, split: str, classes: tuple[str, ...] | None, part_names: Any, progress: bool):
        self.data, self.split, self.classes = data, split, classes
        count = _checked_length(data, split)
        looked_at = sorted({round(place) for place in np.linspace(0, count - 1, min(count, _LOOKED_AT))})
        items = {index: self._item(index) for index in looked_at}
        first = items[0]
        self.annotations = _needed(first)
        for index, item in items.items():
            check_annotations(item, self.annotations, self._what(index))
        samples = {index: as_sample(item, self._what(index)) for index, item in items.items()}
        self.box_labels = {at: sample["box_labels"] for at, sample in samples.items() if "box_labels" in sample}
        points = len(samples[0].get("points", ()))
        self.part_names = tuple(map(str, range(points) if part_names is None else part_names)) if points else ()
        if len(self.part_names) != points:
            raise InputError(
                f"{self._what(0)}: {points} points for {len(self.part_names)} part names; give one for each"
            )
        labels, names = self._cheap_labels(items), None
        if labels is None or "name" in first.extras:
            labels, names = self._read_all(progress)
        self.labels = labels
        self._check_labels()
        files = known_paths(data)
        if names is None:
            names = short_names(files) if files else [f"{split}/{index:06d}" for index in range(count)]
        self.names = names
        digests = self._digests(samples)
        self.identities = _file_sizes(files) if files else digests

    def _what(self, index: int) -> str:
        return f"{self.split} item {index}"

    def _item(self, index: int, seed: int = 0) -> Item:
        with _dice(seed):
            return read_item(self.data, index, self._what(index))

    def _label(self, value: Any, index: int) -> int | tuple[int, ...]:
        label = as_label(value, self._what(index))
        # One number in a list is a class number, unless there is but one name, so that it is a finding.
        if isinstance(label, tuple) and len(label) == 1 and (self.classes is None or len(self.classes) > 1):
            return label[0]
        return label

    def _cheap_labels(self, items: dict[int, Item]) -> list | None:
        """Labels that the data set keeps at hand, unless they are not those of its items."""
        held = known_labels(self.data)
        if held is None:
            return None
        own = {index: self._label(item.label, index) for index, item in items.items()}
        try:
            labels = [self._label(label, index) for index, label in enumerate(held)]
        except InputError:
            return None
        return labels if all(labels[index] == label for index, label in own.items()) else None

    def _read_all(self, progress: bool) -> tuple[list, list[str] | None]:
        labels, names = [], []
        for index in tqdm(
            range(len(self.data)), f"labels of {self.split}", leave=False, disable=None if progress else True
        ):
            item = self._item(index)
            check_annotations(item, self.annotations, self._what(index))
            labels.append(self._label(item.label, index))
            names.append(item.extras.get("name"))
        return labels, [str(name) for name in names] if all(name is not None for name in names) else None

    def _check_labels(self) -> None:
        first = self.labels[0]
        width = len(first) if isinstance(first, tuple) else 0
        known = len(self.classes) if self.classes is not None else None
        if width and known not in (None, width):
            raise InputError(f"{self._what(0)}: a label of {width} findings for {known} classes")
        for index, label in enumerate(self.labels):
            if (len(label) if isinstance(label, tuple) else 0) != width:
                raise InputError(
                    f"{self._what(index)}: the label is {label!r}, that of item 0 {first!r}; give one kind"
                )
            if not width and (label < 0 or (known is not None and label >= known)):
                limit = f" and less than {known}, the number of classes" if known is not None else ""
                raise InputError(f"{self._what(index)}: the label is {label}; it must be at least 0{limit}")
        if width > 1 and all(sum(label) == 1 for label in self.labels):
            warnings.warn(
                f"every label of {self.split} holds a single 1 and is read as findings, each yes or no; for one class "
                "per image give its number",
                stacklevel=5,
            )

    def _digests(self, samples: dict[int, Sample]) -> list[str]:
        """Digest each picture looked at; "" for others, and where the data set's own random transforms change it."""
        identities, warned = [""] * len(self.labels), False
        for index, sample in samples.items():
            same, other = (as_sample(self._item(index, seed), self._what(index))["image"] for seed in (0, 1))
            if not torch.equal(other, sample["image"]) and not warned:
                warned = True
                warnings.warn(
                    f"{self._what(index)} is another picture each time it is read; leave random transforms out of the "
                    "data set: training has its own, and prototypes are projected to pictures as they are",
                    stacklevel=5,
                )
            if not torch.equal(same, sample["image"]):
                return [""] * len(self.labels)
            identities[index] = hashlib.sha256(same.numpy().tobytes()).hexdigest()[:16]
        return identities


def _checked_length(data: Any, split: str) -> int:
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        mend = "give its .dataset" if isinstance(data, DataLoader) else "give one with __getitem__ and __len__"
        raise InputError(f"{split} is {type_named(data)}, which is no map-style data set; {mend}")
    try:
        count = len(data)
    except Exception as error:  # whatever the data set's own code raises
        reason = " ".join(str(error).split()) or "no reason is given"
        raise InputError(
            f"the data set {split} does not tell its length ({type(error).__name__}: {reason}); give one whose __len__ "
            "returns the number of images"
        ) from error
    if count == 0:
        raise InputError(f"the data set {split} is empty; give at least one image of every class")
    return count


def _file_sizes(files: Sequence[str]) -> list[str]:
    try:
        return [f"{os.path.getsize(file)} bytes" for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: no such image file") from None


@contextmanager
def _dice(seed: int) -> Iterator[None]:
    """Give a data set's own random transforms the same numbers each time, so that its items can be compared."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
