"""Any torch Dataset of (image, label) as a data set of ours: :func:`from_datasets`, :func:`from_dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from protomask.data.images import AnnotatedImages, Sample, Splits
from protomask.data.known import known_classes, known_paths
from protomask.data.reading import Reading, check_annotations, read_item
from protomask.data.samples import as_label, as_sample, check_box_labels
from protomask.data.splitting import check_share, check_splits, hold_out
from protomask.errors import InputError
from protomask.given import as_flag

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

    A PIL image whose EXIF says that it lies on its side is turned upright, and its annotations with it.

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
        seed: of the random choice of images for shares, class by class or finding by finding; what belongs together, as
            one patient's images, may be divided: give splits of your own for it.
        part_names: (N,) names of the points; "0", "1", ... by default.
        progress: show a bar while every item is read, on a terminal.

    Raises:
        InputError: not a map-style data set, empty, fewer than two classes, a class without a training image; an item
            that is not as above, named by its number.
    """
    progress = as_flag(progress, "progress")
    given = {"train": train, "test": test, "validation": validation}
    shares = {key: value for key, value in given.items() if _is_share(value) and key != "train"}
    for key, share in shares.items():
        check_share(key, share)
    sources = {key: given[key] for key in _SPLITS if key not in shares}
    names = _class_names(sources, classes)
    found = {
        key: data if isinstance(data, AnnotatedImages) else Reading(data, key, names, part_names, progress)
        for key, data in sources.items()
    }
    if names is None:
        names = _numbered([reading.labels for reading in found.values()])
    made = {key: data if isinstance(data, AnnotatedImages) else _images(data, names) for key, data in found.items()}
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


def from_dataset(
    data: Any,
    what: str = "data",
    *,
    classes: Sequence[str] | None = None,
    part_names: Sequence[str] | None = None,
    progress: bool = True,
) -> DatasetImages:
    """Make one data set out of a torch Dataset, where nothing is learned: any classes, also a single one.

    Args:
        data: map-style, with items as for :func:`from_datasets`.
        what: names the data set in errors, and items that have no name.
        classes, part_names, progress: as for :func:`from_datasets`.

    Raises:
        InputError: not a map-style data set, empty; an item that is not as above, named by its number.
    """
    names = _class_names({what: data}, classes)
    found = Reading(data, what, names, part_names, as_flag(progress, "progress"))
    return _images(found, _numbered([found.labels]) if names is None else names)


class DatasetImages(AnnotatedImages):
    """The items of one torch Dataset; made by :func:`from_datasets`.

    Args:
        data: map-style.
        split: ``train``, ``test`` or ``validation``, or another name of the data set; named in errors.
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
        numbers = torch.tensor(labels) if labels else torch.empty(0, dtype=torch.long)
        super().__init__(classes, numbers, names, part_names)
        self.data, self.split = data, split
        self._all_labels, self._all_names = self.labels, self.names  # a subset has others
        self._all_classes = self.classes  # compare gives a data set those of the model
        self._identities, self._annotations = tuple(identities), annotations

    def load(self, index: int) -> Sample:
        what = f"{self.split} item {index} ({self._all_names[index]})"
        item = read_item(self.data, index, what)
        label, before = torch.as_tensor(as_label(item.label, what)).reshape(-1), self._all_labels[index].reshape(-1)
        if not torch.equal(label, before.long()):
            raise InputError(f"{what}: the label is {label.tolist()}, but was {before.long().tolist()} at first")
        check_annotations(item, self._annotations, what)
        sample = as_sample(item, what, len(self._all_classes))
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


def _images(found: Reading, classes: tuple[str, ...]) -> DatasetImages:
    for index, labels in found.box_labels.items():
        check_box_labels(labels, len(classes), f"{found.split} item {index}")
    return DatasetImages(
        found.data,
        found.split,
        classes,
        found.labels,
        found.names,
        found.part_names,
        found.identities,
        found.annotations,
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _class_names(sources: dict[str, Any], given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Give the names given, else those that the data sets know; InputError where two of them differ."""
    if given is not None:
        chosen = (given,) if isinstance(given, str) else tuple(map(str, given))
        twice = [name for name in chosen if chosen.count(name) > 1]
        if twice:
            raise InputError(f"classes: {twice[0]!r} is named twice")
        return chosen
    known = {key: names for key, data in sources.items() if (names := known_classes(data, key)) is not None}
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
