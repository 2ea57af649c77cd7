"""The base of data sets: images with labels and, where known, boxes, masks and part points."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from protomask.data.alike import alike_remarks
from protomask.data.words import Words
from protomask.errors import first_of
from protomask.labels import is_multi_label
from protomask.places import chosen_places

Sample = dict[str, Any]


class AnnotatedImages(Dataset):
    """Give samples as dictionaries, whose annotations go through the same transform as the image.

    A sample holds

    - ``image``: ``tv_tensors.Image`` uint8 (3, H, W); what the transform makes of it afterwards,
    - ``label``: int in 0..C-1, or with several findings per image (multi-label) float32 (C,), 1 where present;
      ``position``: int, the index within *this* object (a subset counts from 0 again),
    - ``boxes``: ``tv_tensors.BoundingBoxes`` float32 (K, 4), XYXY pixels, end-exclusive; K may be 0,

    and, only where the data set has them (then in every sample of it),

    - ``mask``: ``tv_tensors.Mask`` uint8 (1, H, W), 1 on the object,
    - ``box_labels``: long (K,), the class of each box, where boxes belong to single findings,
    - ``points``: ``tv_tensors.KeyPoints`` float32 (N, 2) x, y; ``visible``: bool (N,), one per name in ``part_names``.

    A subclass calls ``super().__init__`` with one label and one name for each image it stores, and implements
    :meth:`load`, which is given the number of a *stored* image. Subsets are views: they share what the subclass holds,
    and :meth:`stored` translates a position into that number.

    Args:
        classes: names of the classes or findings; label ``i`` means ``classes[i]``.
        labels: (len,) class of each image, or (len, C) which findings it has, 1 or 0; none is allowed.
        names: (len,) a stable name of each image: its relative path, or an id.
        part_names: (N,) names of the part points, or of the parts; empty where there are none.
        transform: called with each sample; ``None`` leaves it as stored.
    """

    def __init__(
        self,
        classes: Iterable[str],
        labels: Sequence[int] | Tensor,
        names: Iterable[str],
        part_names: Iterable[str] = (),
        transform: Callable[[Sample], Sample] | None = None,
    ):
        self.classes: tuple[str, ...] = tuple(classes)
        labels = torch.as_tensor(labels)
        self.labels: Tensor = labels.float() if labels.ndim == 2 else labels.long().reshape(-1)
        self.names: Sequence[str] = Words(names)
        self.part_names: tuple[str, ...] = tuple(part_names)
        self.transform = transform
        self._stored: Tensor = torch.arange(len(self.names))
        if len(self.labels) != len(self.names):
            raise ValueError(f"{len(self.labels)} labels for {len(self.names)} names")
        if self.multi_label and self.labels.shape[1] != len(self.classes):
            raise ValueError(f"labels of {self.labels.shape[1]} findings for {len(self.classes)} classes")

    @property
    def multi_label(self) -> bool:
        """Tell whether an image has any number of findings instead of one class."""
        return is_multi_label(self.labels)

    def truth(self, position: int) -> str | tuple[str, ...]:
        """Name the image's class, or its findings."""
        if self.multi_label:
            return tuple(self.classes[finding] for finding in self.labels[position].nonzero().flatten().tolist())
        return self.classes[int(self.labels[position])]

    def load(self, index: int) -> Sample:
        """Load stored image number ``index`` with its annotations, without ``label`` and ``position``."""
        raise NotImplementedError

    def identity(self, index: int) -> str:
        """Describe what, beside name and label, tells stored image ``index`` from another (size, crop); cheap."""
        return ""

    def files(self, index: int) -> tuple[Path, ...]:
        """List the files that stored image ``index`` and its masks are read from; none where they are not files."""
        return ()

    def annotations(self, index: int) -> str:
        """Describe the points and labels of boxes of stored image ``index``, which :meth:`identity` does not; cheap."""
        return ""

    def table_content(self) -> str:
        """Digest what images are read from that is in no file of :meth:`files`; empty where there is nothing such."""
        return ""

    def stored(self, position: int) -> int:
        """Give the number of the stored image at ``position``; IndexError outside the data set."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of a data set of {len(self)} images")
        return int(self._stored[position])

    def read(self, position: int) -> Sample:
        """Read the sample at ``position`` as stored, untransformed."""
        sample = self.load(self.stored(position))
        sample["label"] = self.labels[position] if self.multi_label else int(self.labels[position])
        sample["position"] = position % len(self)
        return sample

    def __getitem__(self, position: int) -> Sample:
        sample = self.read(position)
        return sample if self.transform is None else self.transform(sample)

    def __len__(self) -> int:
        return len(self.names)

    def with_transform(self, transform: Callable[[Sample], Sample] | None) -> "AnnotatedImages":
        """Give the same images another transform; a cheap copy, this object stays as it is."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def subset(self, positions: Iterable[int] | Tensor) -> "AnnotatedImages":
        """Take the images at ``positions``, in that order; a cheap copy with the same classes and transform.

        A mask (len,) of True and False takes those that are True: ``data.subset(data.labels == 2)``.

        Raises:
            InputError: a mask of another shape; fractions, or no numbers.
        """
        positions = chosen_places(positions, len(self), "positions").cpu()
        other = copy.copy(self)
        other._stored = self._stored[positions]
        other.labels = self.labels[positions]
        other.names = Words(self.names).take(positions)
        return other

    def fingerprint(self) -> str:
        """Digest classes, names, labels, order and sizes of the images to 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.classes, self.part_names)).encode())
        for stored, label, name in zip(self._stored.tolist(), self.labels.tolist(), self.names):
            digest.update(repr((name, label, self.identity(stored))).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images, {len(self.classes)} classes)"


@dataclass(frozen=True)
class Splits:
    """Hold three disjoint data sets with the same classes.

    ``validation`` may be empty; ``test`` never selects anything.
    """

    train: AnnotatedImages
    validation: AnnotatedImages
    test: AnnotatedImages
    find_remarks: Callable[[], Sequence[str]] | None = field(default=None, compare=False, repr=False)

    def text(self) -> str:
        """Say how many images and classes there are, and how the splits share them.

        "160 images of 4 classes: 115 to train, 13 to validate, 32 to test"
        """
        sizes = [len(self.train), len(self.validation), len(self.test)]
        kind = "findings" if self.train.multi_label else "classes"
        parts = ", ".join(f"{size:,} to {what}" for size, what in zip(sizes, ("train", "validate", "test")))
        return f"{sum(sizes):,} images of {len(self.train.classes)} {kind}: {parts}"

    def remarks(self) -> list[str]:
        """Tell, in lines, what a user should know of the data though it need not be wrong: unread files, copies...

        May read every file.
        """
        own = [] if self.find_remarks is None else self.find_remarks()
        return [*self._untested(), *alike_remarks(self.train.classes), *own]

    def _untested(self) -> list[str]:
        classes, multi_label = self.train.classes, self.train.multi_label
        labels = self.test.labels
        # In a damaged data set, of which check wants all problems, there may be no class at all.
        there = set(((labels > 0.5).any(0).nonzero() if multi_label else labels).flatten().tolist())
        missing = [name for number, name in enumerate(classes) if number not in there]
        if not missing:
            return []
        kinds = ("finding", "findings") if multi_label else ("class", "classes")
        return [
            f"{len(missing)} of {len(classes)} {kinds[1]} without a test picture ({first_of(missing, 5)}): what is "
            f"measured on the test pictures says nothing of {'it' if len(missing) == 1 else 'them'}; add pictures of "
            f"{f'that {kinds[0]}' if len(missing) == 1 else f'those {kinds[1]}'}"
        ]


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Stack transformed samples into a batch of plain tensors; for ``DataLoader(collate_fn=collate)``.

    Returns:
        ``images`` (B, 3, H, W), ``labels`` (B,) long or (B, C) float, ``positions`` (B,) long, ``boxes`` a list of B
        tensors (K, 4), and where every sample has them ``mask`` (B, 1, H, W), ``points`` (B, N, 2), ``visible`` (B, N),
        and ``box_labels``, a list of B tensors (K,).
    """
    labels = [sample["label"] for sample in samples]
    batch = {
        "images": _stack(samples, "image"),
        "labels": torch.stack(labels) if isinstance(labels[0], Tensor) else torch.tensor(labels, dtype=torch.long),
        "positions": torch.tensor([sample["position"] for sample in samples], dtype=torch.long),
        "boxes": [sample["boxes"].as_subclass(Tensor) for sample in samples],
    }
    for key in ("mask", "points", "visible"):
        if all(key in sample for sample in samples):
            batch[key] = _stack(samples, key)
    if all("box_labels" in sample for sample in samples):
        batch["box_labels"] = [sample["box_labels"] for sample in samples]
    return batch


def _stack(samples: Sequence[Sample], key: str) -> Tensor:
    return torch.stack([sample[key].as_subclass(Tensor) for sample in samples])
