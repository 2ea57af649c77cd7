"""What a data set of somebody else's says of its items without decoding them: labels, file paths, class names."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, path
from typing import Any

from torch.utils.data import ConcatDataset, Subset, TensorDataset

from protomask.errors import InputError, first_of


def known_labels(data: Any) -> list | None:
    """Find the labels that ``.targets``, ``.labels`` or ``.samples`` hold, through the target transform; None without
    these.

    What these hold need not be labels (torchvision's VOCDetection keeps paths in ``.targets``): compare some of them
    with those of the items.
    """
    if isinstance(data, Subset):
        every = known_labels(data.dataset)
        return None if every is None else [every[int(index)] for index in data.indices]
    if isinstance(data, ConcatDataset):
        parts = [known_labels(part) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return [label for part in known for label in part] if len(known) == len(parts) else None
    if isinstance(data, TensorDataset):
        return list(data.tensors[1]) if len(data.tensors) > 1 else None
    for name in ("targets", "labels"):
        if _is_list(getattr(data, name, None), data):
            labels = list(getattr(data, name))
            break
    else:
        if not _is_pairs(getattr(data, "samples", None), data):
            return None
        labels = [label for _, label in data.samples]
    transform = getattr(data, "target_transform", None)
    return labels if transform is None else [transform(label) for label in labels]


def known_paths(data: Any) -> list[str] | None:
    """Give the file of each item, which ImageFolder's ``.samples`` hold; None without these."""
    if isinstance(data, Subset):
        every = known_paths(data.dataset)
        return None if every is None else [every[int(index)] for index in data.indices]
    if isinstance(data, ConcatDataset):
        parts = [known_paths(part) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return [path for part in known for path in part] if len(known) == len(parts) else None
    samples: Any = getattr(data, "samples", None)
    if not _is_pairs(samples, data) or not all(isinstance(file, str | PathLike) for file, _ in samples):
        return None
    return [str(file) for file, _ in samples]


def known_classes(data: Any, what: str) -> tuple[str, ...] | None:
    """Give the names that ``.classes`` holds; None without it.

    Args:
        data: of somebody else.
        what: names it in errors.

    Raises:
        InputError: the parts of a ConcatDataset name different classes, whose numbers it would mix.
    """
    if isinstance(data, Subset):
        return known_classes(data.dataset, what)
    if isinstance(data, ConcatDataset):
        parts = [known_classes(part, what) for part in data.datasets]
        named = [names for names in parts if names is not None]
        for names in named:
            if names != named[0]:
                one, other = (first_of(each, 5) for each in (named[0], names))
                raise InputError(
                    f"{what}: its parts differ in their classes ({one}; {other}), so the same label means two things; "
                    "make them equal, or give classes=[...] if it does not"
                )
        return parts[0] if len(named) == len(parts) else None
    classes = getattr(data, "classes", None)
    if not isinstance(classes, Sequence) or isinstance(classes, str) or not len(classes):
        return None
    # ImageNet's are tuples of synonyms.
    return tuple(", ".join(map(str, name)) if isinstance(name, tuple | list) else str(name) for name in classes)


def short_names(files: Sequence[str]) -> list[str]:
    """Give paths below the folder above the one that holds them all: ``train/cat/1.jpg``; the same wherever that folder
    is."""
    files = [path.abspath(file) for file in files]
    above = path.dirname(path.commonpath([path.dirname(file) for file in files]))
    return [path.relpath(file, above).replace(path.sep, "/") for file in files]


def _is_list(values: Any, data: Any) -> bool:
    return hasattr(values, "__len__") and not isinstance(values, str | dict) and len(values) == len(data)


def _is_pairs(values: Any, data: Any) -> bool:
    return _is_list(values, data) and all(isinstance(each, tuple | list) and len(each) == 2 for each in values)
