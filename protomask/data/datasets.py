"""Any torch Dataset of (image, label) as a data set of ours: :func:`from_datasets`."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from protomask.data.images import AnnotatedImages, Sample, Splits
from protomask.data.known import known_classes, known_labels, known_paths, short_names
from protomask.data.samples import Item, as_label, as_sample, take_apart
from protomask.data.splitting import check_share, check_splits, hold_out
from protomask.errors import InputError

_LOOKED_AT = 8  # items of each data set that are read at the start, evenly spread
_SPLITS = ("train", "test", "validation")


def from_datasets(
    train: Any,
    test: Any = 0.2,
    *,
    classes: Sequence[str] | None = None,
    validation: Any = 0.1,
    seed: int = 0,
    part_names: Sequence[str] | None = None,
    progress: bool = True,
) -> Splits:
    """Make the three splits that everything here works with out of torch Datasets.

    An item is ``(image, label)``, ``(image, label, annotations)``, or one dictionary with ``image``, ``label`` and
    annotations:

    - image: a picture, not normalised: PIL, or array or tensor as :func:`protomask.data.pictures.as_picture` says;
      resizing, augmentation and normalisation are ours;
    - label: the number of a class, 0 to C - 1, or for any number of findings a vector (C,) of ones and zeros;
    - annotations, each in every item or in none, in pixels of the picture as given: ``boxes`` (K, 4) x0, y0, x1, y1,
      end-exclusive, K from 0, and ``box_labels`` (K,), the finding of each; ``mask`` (H, W), not 0 on the object;
      ``points`` (N, 2) x, y of N parts, and ``visible`` (N,) (a row of NaN is not visible); ``name``, of the image.

    >>> pictures = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    >>> items = torch.utils.data.TensorDataset(pictures, torch.arange(12) % 3)
    >>> from_datasets(items, classes=["cat", "dog", "owl"], validation=0).train
    DatasetImages(9 images, 3 classes)

    Labels come from ``.targets``, ``.labels`` or ``.samples`` where the data set has them, otherwise every item is read
    once. Images are named by their files (ImageFolder), by ``name``, or by their numbers; the fingerprint knows names,
    labels, and the files' sizes or, without files, the pixels of a few items.

    Args:
        train, test: map-style data sets, or :class:`AnnotatedImages`. ``test`` may be a share of ``train`` instead.
        classes: names; by default ``train.classes``, else "0", "1", ...
        validation: a data set, or a share of the training images; 0 for none.
        seed: of the random choice of images for shares, class by class.
        part_names: (N,) names of the points; "0", "1", ... by default.
        progress: show a bar while every item is read, on a terminal.

    Raises:
        InputError: not a map-style data set, empty, fewer than two classes, a class without a training image; an item
            that is not as above, named by its number.
    """
    given = {"train": train, "test": test, "validation": validation}
    shares = {key: value for key, value in given.items() if _is_share(value) and key != "train"}
    for key, share in shares.items():
        check_share(key, share)
    sources = {key: given[key] for key in _SPLITS if key not in shares}
    names = _class_names(sources, classes)
    found = {
        key: data if isinstance(data, AnnotatedImages) else _Reading(data, key, names, part_names, progress)
        for key, data in sources.items()
    }
    if names is None:
        names = _numbered([reading.labels for reading in found.values()])
    made = {key: data if isinstance(data, AnnotatedImages) else data.images(names) for key, data in found.items()}
    if len({(data.multi_label, data.part_names) for data in made.values() if len(data)}) > 1:
        raise InputError(f"the data sets {', '.join(made)} differ in their kind of labels or in their points")
    for key, data in made.items():
        if data.classes != names:
            raise InputError(
                f"{key} has the classes {', '.join(data.classes)}; the others {', '.join(names)}; make them equal"
            )
    training = made["train"]
    if "test" in shares:
        kept, held = hold_out(training.labels, shares["test"], seed)
        training, made["test"] = training.subset(kept), training.subset(held)
    if "validation" in shares:
        kept, held = hold_out(training.labels, shares["validation"], seed)
        training, made["validation"] = training.subset(kept), training.subset(held)
    splits = Splits(training, made["validation"], made["test"])
    check_splits(splits, "the training data set")
    return splits


class DatasetImages(AnnotatedImages):
    """The items of one torch Dataset; made by :func:`from_datasets`.

    Args:
        data: map-style.
        split: ``train``, ``test`` or ``validation``; named in errors.
        classes, labels, names, part_names: see :class:`AnnotatedImages`.
        identities: (len,) what tells items apart beside names and labels.
    """

    def __init__(
        self,
        data: Any,
        split: str,
        classes: Sequence[str],
        labels: Sequence,
        names: Sequence[str],
        part_names: Sequence[str],
        identities: Sequence[str],
        annotations: frozenset[str],
    ):
        labels = torch.tensor(labels) if labels else torch.empty(0, dtype=torch.long)
        super().__init__(classes, labels, names, part_names)
        self.data, self.split = data, split
        self._all_labels, self._all_names = self.labels, self.names  # a subset has others
        self._identities, self._annotations = tuple(identities), annotations

    def load(self, index: int) -> Sample:
        what = f"{self.split} item {index} ({self._all_names[index]})"
        item = read_item(self.data, index, what)
        label, before = torch.as_tensor(as_label(item.label, what)).reshape(-1), self._all_labels[index].reshape(-1)
        if not torch.equal(label, before.long()):
            raise InputError(f"{what}: the label is {label.tolist()}, but was {before.long().tolist()} at first")
        check_annotations(item, self._annotations, what)
        sample = as_sample(item, what)
        if len(self.part_names) != len(sample.get("points", ())):
            raise InputError(f"{what}: {len(sample['points'])} points for {len(self.part_names)} part names")
        return sample

    def identity(self, index: int) -> str:
        return self._identities[index]

    def files(self, index: int) -> tuple[Path, ...]:
        known = self._files()
        return () if known is None else (Path(known[index]),)

    def _files(self) -> list[str] | None:
        if not hasattr(self, "_known_files"):
            self._known_files = known_paths(self.data)
        return self._known_files


def read_item(data: Any, index: int, what: str) -> Item:
    """Item ``index`` of a data set; InputError, beginning with ``what``, where it cannot be read."""
    try:
        item = data[index]
    except InputError:
        raise
    except Exception as error:  # whatever the data set's own code and files raise
        reason = " ".join(str(error).split())
        raise InputError(f"{what}: the data set cannot read it ({type(error).__name__}: {reason})") from error
    return take_apart(item, what)


def check_annotations(item: Item, expected: frozenset[str], what: str) -> None:
    """InputError unless the item has the ``expected`` annotations: some measures ask every image for them."""
    found = _needed(item)
    for name in sorted(found ^ expected):
        one, other = ("has no", "others have") if name in expected else ("has", "others have none")
        raise InputError(f"{what}: {one} {name!r}, though {other}; give it for every item, or for none")


def _needed(item: Item) -> frozenset[str]:
    return frozenset(item.extras) & {"mask", "points", "box_labels"}


class _Reading:
    """Labels, names and annotations of one data set, found with as little reading as possible."""

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
        points = len(samples[0].get("points", ()))
        self.part_names = tuple(map(str, range(points) if part_names is None else part_names)) if points else ()
        if len(self.part_names) != points:
            raise InputError(
                f"{self._what(0)}: {points} points for {len(self.part_names)} part names; give one for each"
            )
        self.labels, names = self._cheap_labels(items), None
        if self.labels is None or "name" in first.extras:
            self.labels, names = self._read_all(progress)
        self._check_labels()
        files = known_paths(data)
        if names is None:
            names = short_names(files) if files else [f"{split}/{index:06d}" for index in range(count)]
        self.names = names
        digests = self._digests(samples)
        self.identities = _file_sizes(files) if files else digests

    def images(self, classes: tuple[str, ...]) -> DatasetImages:
        return DatasetImages(
            self.data,
            self.split,
            classes,
            self.labels,
            self.names,
            self.part_names,
            self.identities,
            self.annotations,
        )

    def _what(self, index: int) -> str:
        return f"{self.split} item {index}"

    def _item(self, index: int, seed: int = 0) -> Item:
        with _dice(seed):
            return read_item(self.data, index, self._what(index))

    def _label(self, value: Any, index: int) -> int | tuple[int, ...]:
        label = as_label(value, self._what(index))
        # One number in a list is a class number, unless there is but one name, so that it is a finding.
        alone = isinstance(label, tuple) and len(label) == 1
        return label[0] if alone and (self.classes is None or len(self.classes) > 1) else label

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
        """A digest of each picture looked at; "" for others, and where the data set has dice of its own."""
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


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _class_names(sources: dict[str, Any], given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names given, else those that the data sets know; InputError where two of them differ."""
    if given is not None:
        names = (given,) if isinstance(given, str) else tuple(map(str, given))
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"classes: {twice[0]!r} is named twice")
        return names
    known = {key: known_classes(data) for key, data in sources.items()}
    known = {key: names for key, names in known.items() if names is not None}
    for key, names in known.items():
        if names != known.get("train", names):
            raise InputError(
                f"train and {key} differ in their classes, so the same label means two things; make them equal"
            )
    return known.get("train") or next(iter(known.values()), None)


def _numbered(labels: list) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    widths = {len(label) if isinstance(label, tuple) else 0 for own in labels for label in own[:1]}
    if widths == {0}:
        return tuple(str(number) for number in range(max(label for own in labels for label in own) + 1))
    return tuple(str(number) for number in range(max(widths)))


def _checked_length(data: Any, split: str) -> int:
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        mend = "give its .dataset" if isinstance(data, DataLoader) else "give one with __getitem__ and __len__"
        raise InputError(f"{split} is a {type(data).__name__}, which is no map-style data set; {mend}")
    if len(data) == 0:
        raise InputError(f"the data set {split} is empty; give at least one image of every class")
    return len(data)


def _file_sizes(files: Sequence[str]) -> list[str]:
    try:
        return [f"{os.path.getsize(file)} bytes" for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: no such image file") from None


@contextmanager
def _dice(seed: int) -> Iterator[None]:
    """The same random numbers for a data set's own random transforms each time, so that its items can be compared."""
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
