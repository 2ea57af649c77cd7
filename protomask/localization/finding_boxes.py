"""Boxes of single findings, numbered by the data's classes, as boxes of a model's classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.data import AnnotatedImages
from protomask.data.geometry import as_boxes
from protomask.data.images import Sample
from protomask.errors import InputError, first_of
from protomask.localization.class_names import have_names, numbers_called

_NAMED = 5
"""classes that a warning names; the others are counted"""


def with_model_classes(data: AnnotatedImages, names: Mapping[int, str], classes: int) -> AnnotatedImages:
    """Give boxes of single findings the numbers of a model's classes of the same names; other data as they are.

    A warning tells what is left out or assumed: boxes of a class of which the model has none of that name; all boxes,
    where one side has no names and they have not equally many classes; where they have, that the order is the same.

    Args:
        data: with the model's transform.
        names: of the model's classes, as far as they are known.
        classes: how many the model has.
    """
    if "box_labels" not in data[0]:
        return data
    return data.with_transform(_Renumbered(data.transform or dict, _model_numbers(data.classes, names, classes)))


@dataclass(frozen=True)
class _Renumbered:
    """A transform, and after it the boxes' numbers changed; those of -1 are dropped."""

    transform: Callable[[Sample], Sample]
    numbers: tuple[int, ...]
    """the new number of each class"""

    def __call__(self, sample: Sample) -> Sample:
        sample = dict(self.transform(sample))
        before = sample["box_labels"]
        wrong = before[(before < 0) | (before >= len(self.numbers))]
        if len(wrong):
            raise InputError(
                f"box_labels holds {int(wrong[0])}, but the data have {len(self.numbers)} classes; mend it"
            )
        labels = torch.tensor(self.numbers, dtype=torch.long)[before]
        kept = labels >= 0
        size = tuple(sample["image"].shape[-2:])
        sample["boxes"] = as_boxes(sample["boxes"].as_subclass(Tensor)[kept], size)
        sample["box_labels"] = labels[kept]
        return sample


def _model_numbers(own: Sequence[str], names: Mapping[int, str], classes: int) -> tuple[int, ...]:
    """Find the model's class of each of the data's; -1 where it has none."""
    own_named, model_named = have_names(dict(enumerate(own))), have_names(names)
    if not (own_named and model_named):
        return _by_order(own, classes, own_named, model_named)
    numbers = tuple(numbers_called(own, names))
    missing = [repr(name) for name, number in zip(own, numbers) if number < 0]
    if missing:
        warnings.warn(
            f"the data's boxes of {first_of(missing, _NAMED)} are left out: the model has no class, or no single one, "
            "of that name; name its classes as the data do, by labels=",
            stacklevel=4,
        )
    return numbers


def _by_order(own: Sequence[str], classes: int, own_named: bool, model_named: bool) -> tuple[int, ...]:
    """Find them by their order, where one side at least has no names; -1 for all where there are not as many."""
    nameless = "data's" if model_named else "model's"
    mend = "give them to the data set" if model_named else "give them by labels="
    if len(own) != classes:
        warnings.warn(
            f"the data's boxes of single findings are left out: the {nameless} classes have no names, and the data "
            f"have {len(own)}, the model {classes}, so it cannot be told whose they are; {mend}",
            stacklevel=5,
        )
        return (-1,) * len(own)
    if own_named or model_named:  # else numbers are all that there is
        warnings.warn(
            f"the {nameless} classes have no names: for the boxes of single findings they are taken to be in the order "
            f"of the {'model' if model_named else 'data'}'s; {mend} if they are not",
            stacklevel=5,
        )
    return tuple(range(classes))
