"""Fields of a DICOM file where they are looked for: out of its functional groups, and none that are empty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from protomask.data.raster import ImageFile
from protomask.errors import InputError

_OF_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
"""what enhanced files say for each frame, or for all, in groups, and others at the top"""
_RESCALING = {"RescaleSlope": 1, "RescaleIntercept": 0}
_BUT_0 = {"RescaleSlope": " other than 0", "RescaleIntercept": ""}
_WINDOW = ("WindowCenter", "WindowWidth")
_TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def complete(dataset: Any, path: ImageFile) -> None:
    """Put what the functional groups of a file of one frame say at the top, and take empty fields away.

    The frame's own group goes before the shared one, and both before what stands at the top. Of slope and intercept, if
    only one is given, the other becomes 1 or 0; of several windows the first that has both numbers stays.

    Args:
        dataset: as pydicom reads it; changed in place.

    Raises:
        InputError: slope or intercept of a grey file is no number, several, or a slope of 0; names ``path``.
    """
    for group in _groups(dataset):
        for sequence, names in _OF_GROUPS.items():
            for item in list(group.get(sequence) or ())[:1]:
                for name in names:
                    if not _is_empty(item.get(name)):
                        setattr(dataset, name, item.get(name))
    for name in (*_RESCALING, *_TABLES):
        if name in dataset and _is_empty(dataset.get(name)):
            delattr(dataset, name)
    _keep_one_window(dataset)
    if "ModalityLUTSequence" not in dataset and str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME"):
        _check_rescaling(dataset, path)
    if any(name in dataset for name in _RESCALING):
        for name, value in _RESCALING.items():
            if name not in dataset:
                setattr(dataset, name, value)


def check_supplemental(dataset: Any, stored: Any, path: ImageFile) -> None:
    """Refuse grey pixels some of which are numbers of colours in a supplemental palette.

    Raises:
        InputError: there are such; names ``path``.
    """
    described = dataset.get("RedPaletteColorLookupTableDescriptor")
    if described and dataset.get("PixelPresentation") in ("COLOR", "MIXED") and stored.max() >= int(described[1]):
        raise InputError(
            f"{path}: grey levels with colours of a supplemental palette among them, which are not read; save it as RGB"
        )


def _keep_one_window(dataset: Any) -> None:
    given = [_listed(dataset.get(name)) for name in _WINDOW]
    pairs = [pair for pair in zip(*given) if not any(map(_is_empty, pair))]
    for place, name in enumerate(_WINDOW):
        if pairs:
            setattr(dataset, name, pairs[0][place])
        elif name in dataset:
            delattr(dataset, name)


def _check_rescaling(dataset: Any, path: ImageFile) -> None:
    for name in _RESCALING:
        values = [value for value in _listed(dataset.get(name)) if not _is_empty(value)]
        if not values:
            continue
        try:
            numbers = {float(value) for value in values}
        except (TypeError, ValueError):
            numbers = {math.nan}
        if len(numbers) > 1 or not all(map(math.isfinite, numbers)) or (name == "RescaleSlope" and numbers == {0}):
            told = ", ".join(map(str, values))
            raise InputError(f"{path}: {name} is {told}; one number{_BUT_0[name]} is expected: mend or remove it")
        setattr(dataset, name, values[0])


def _listed(value: Any) -> list:
    several = hasattr(value, "__len__") and not isinstance(value, str | bytes)
    return list(value) if several else [value]


def _groups(dataset: Any) -> Iterator[Any]:
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield from list(dataset.get(name) or ())[:1]


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)
