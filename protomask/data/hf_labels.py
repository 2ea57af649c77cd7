"""The labels of a Hugging Face ``datasets`` table: classes by number or by name, or findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from protomask.data.alike import like, written
from protomask.data.problems import for_a_run, noted
from protomask.errors import InputError

_NONE: tuple[set[Any], ...] = ({-1}, {-100})
"""numbers that say by custom that there is no label; texts are blank"""


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
        return not self.findings and (all(map(_is_blank, self.values)) or set(self.values) in _NONE)

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
        rows = torch.zeros(len(self.values), len(classes), dtype=torch.float32)
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
    for row, value in enumerate(found.values):
        if value is None or (findings and None in value):
            raise InputError(f"{where} row {row}: no label in column {column!r}; remove the row")
    return found


def without_unknown(labels: Mapping[str, Labels]) -> dict[str, Labels]:
    """Leave out validation and test labels that are unknown; blank texts of which train has a class are known."""
    classes = set() if labels["train"].findings else set(labels["train"].values)
    return {
        key: each
        for key, each in labels.items()
        if key == "train" or not each.unknown or (any(map(_is_blank, each.values)) and classes.issuperset(each.values))
    }


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _in_doubt(values: Iterable[Any]) -> set[Any]:
    """Give the labels that may say that there is none: blank texts, and a single negative number of that custom."""
    negative = {value for value in values if isinstance(value, int) and value < 0}
    return set(filter(_is_blank, values)) | (negative if negative in _NONE else set())


def _refuse_missing(labels: Mapping[str, Labels], column: str) -> None:
    """Raise InputError for a row whose label says that it has none; a run that exists learned those of train."""
    values = set(labels["train"].values)
    for key, each in labels.items():
        doubtful = _in_doubt(each.values)
        if key != "train":
            doubtful -= values
        elif for_a_run() or (len(values - doubtful) < 2 or values == {-1, 0, 1}) and not any(map(_is_blank, doubtful)):
            continue  # signs, as "worse" and "better"
        for row, value in enumerate(each.values):
            if value in doubtful:
                mend = "give it a name" if _is_blank(value) else "make the column texts or a ClassLabel"
                with noted():
                    raise InputError(
                        f"{each.where} row {row}: no label in column {column!r}; remove the row ({value!r} says so; if "
                        f"it is a class, {mend})"
                    )
                break


def label_remarks(labels: Labels, column: str) -> list[str]:
    """Say that what is learned as a class may mean that there is no label."""
    if labels.findings or labels.classes is not None:
        return []
    return [
        f"{labels.where}: {value!r} in column {column!r} is learned as a class; where it says that there is no label, "
        "remove those rows"
        for value in sorted(_in_doubt(labels.values))
    ]


def check_classes(labels: Mapping[str, Labels], column: str, named: str) -> tuple[str, ...]:
    """Give the classes of all splits: those that the column's type names, else those of the training images, sorted.

    Raises:
        InputError: the splits name different ones; no training image has a label, or some row has none.
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
    _refuse_missing(labels, column)
    return tuple(map(str, sorted(set(train.values))))
