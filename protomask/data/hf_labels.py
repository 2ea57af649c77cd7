"""The labels of a Hugging Face ``datasets`` table: classes by number or by name, or findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from protomask.data.alike import like, written
from protomask.errors import InputError


@dataclass(frozen=True)
class Labels:
    """What a column says of each row, and which classes its type names (None: those that occur)."""

    values: Sequence[Any]
    """whole numbers, texts, or lists of whole numbers (findings)"""
    classes: tuple[str, ...] | None
    findings: bool
    where: str
    """the split, named in errors"""

    @property
    def unknown(self) -> bool:
        """Tell whether no row has a label, as in test sets whose labels are kept secret."""
        return not self.findings and all(map(_is_none, self.values))

    def numbers(self, classes: Sequence[str]) -> Tensor:
        """Give (N,) classes, or (N, C) findings, by their places among ``classes``.

        Raises:
            InputError: a label is not of the classes; names the row.
        """
        if not self.findings:
            places = {name: place for place, name in enumerate(classes)}
            self._refuse_other_writing(classes)
            named = self.classes is None
            found = [
                self._place(row, places.get(str(value), -1) if named else value, len(classes))
                for row, value in enumerate(self.values)
            ]
            return torch.tensor(found, dtype=torch.long)
        rows = torch.zeros(len(self.values), len(classes))
        for row, several in enumerate(self.values):
            for value in several:
                rows[row, self._place(row, value, len(classes))] = 1
        return rows

    def _refuse_other_writing(self, classes: Sequence[str]) -> None:
        if self.classes is not None:
            return
        known, rows = set(classes), {str(value): row for row, value in reversed(list(enumerate(self.values)))}
        for value, row in sorted(rows.items(), key=lambda item: item[1]):
            found = like(value, classes) if value not in known else None
            if found is not None:
                other, how = found
                raise InputError(
                    f"{self.where} row {row}: the label and a class of train, {written(value, other)}, {how}; write "
                    "them alike"
                )

    def _place(self, row: int, value: int, count: int) -> int:
        if not 0 <= value < count:
            raise InputError(f"{self.where} row {row}: the label is {self.values[row]!r}, none of the {count} classes")
        return value


def read_labels(rows: Any, column: str, where: str) -> Labels:
    """Read a column of a ``datasets.Dataset``.

    Raises:
        InputError: no such column, labels of a type that tells no classes, a row without a label; where no row has one
            there is no error, but :attr:`Labels.unknown`.
    """
    import datasets

    feature = rows.features.get(column)
    if feature is None:
        raise InputError(f"{where}: no column {column!r}, which train has; give every split the same columns")
    inner = getattr(feature, "feature", None)
    findings = isinstance(inner, datasets.ClassLabel)
    typed = inner if findings else feature
    if isinstance(typed, datasets.ClassLabel):
        classes = tuple(map(str, typed.names))
    else:
        kind = str(getattr(feature, "dtype", None) or type(feature).__name__)
        if not isinstance(feature, datasets.Value) or not kind.startswith(
            ("int", "uint", "string", "large_string", "bool")
        ):
            raise InputError(
                f"{where}: column {column!r} holds {kind}, which tells no classes; give whole numbers, texts or a "
                "ClassLabel, or another column by label_column="
            )
        classes = None
    found = Labels(rows.with_format(None)[column][:], classes, findings, where)
    unknown = found.unknown
    for row, value in enumerate(found.values):
        if value is None or (findings and None in value):
            raise InputError(f"{where} row {row}: no label in column {column!r}; remove the row")
        # Of named classes a number that is none of theirs is told where it becomes one.
        if classes is None and not unknown and _is_none(value):
            raise InputError(
                f"{where} row {row}: no label in column {column!r}; remove the row ({value!r} is no class: numbers of "
                "classes are 0 or more, names are not blank)"
            )
    return found


def _is_none(value: Any) -> bool:
    """Tell whether a label says that there is none: -1 by custom, or a blank text."""
    return not value.strip() if isinstance(value, str) else isinstance(value, int) and value < 0


def check_classes(labels: Mapping[str, Labels], column: str, named: str) -> tuple[str, ...]:
    """Give the classes of all splits: those that the column's type names, else those of the training images, sorted.

    Raises:
        InputError: the splits name different ones; no training image has a label.
    """
    train = labels["train"]
    if train.unknown:
        raise InputError(
            f"{train.where}: no row has a label in column {column!r}; give labels, or another column by label_column="
        )
    for each in labels.values():
        if (each.classes, each.findings) != (train.classes, train.findings):
            raise InputError(f"{named}: the splits differ in the classes of column {column!r}; make them equal")
    if train.classes is not None:
        return train.classes
    return tuple(map(str, sorted(set(train.values))))
