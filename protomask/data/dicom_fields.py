"""Fields of a DICOM file where they are looked for: out of its functional groups, and none that are empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OF_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
"""what enhanced files say for each frame, or for all, in groups, and others at the top"""
_RESCALING = {"RescaleSlope": 1, "RescaleIntercept": 0}
_NUMBERS = (*_RESCALING, "WindowCenter", "WindowWidth")
_TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def complete(dataset: Any) -> None:
    """Put what the functional groups of a file of one frame say at the top, and take empty fields away.

    The frame's own group goes before the shared one, and both before what stands at the top. Of slope and intercept, if
    only one is given, the other becomes 1 or 0.

    Args:
        dataset: as pydicom reads it; changed in place.
    """
    for group in _groups(dataset):
        for sequence, names in _OF_GROUPS.items():
            for item in list(group.get(sequence) or ())[:1]:
                for name in names:
                    if not _is_empty(item.get(name)):
                        setattr(dataset, name, item.get(name))
    for name in (*_NUMBERS, *_TABLES):
        if name in dataset and _is_empty(dataset.get(name)):
            delattr(dataset, name)
    if any(name in dataset for name in _RESCALING):
        for name, value in _RESCALING.items():
            if name not in dataset:
                setattr(dataset, name, value)


def _groups(dataset: Any) -> Iterator[Any]:
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield from list(dataset.get(name) or ())[:1]


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)
