"""What one item of somebody else's data set says: a picture, a label, and annotations where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from os import PathLike, fspath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from protomask.data.geometry import LEAST_SIDE, as_boxes, as_points, settle
from protomask.data.images import Sample
from protomask.data.pictures import as_mask, as_picture
from protomask.data.turning import turn_of, turn_sample
from protomask.errors import InputError, type_named
from protomask.given import short
from protomask.places import as_places, native

ANNOTATIONS = ("boxes", "box_labels", "mask", "points", "visible", "name")


class Item(NamedTuple):
    """One item of a data set, taken apart."""

    picture: Any
    label: Any
    extras: Mapping[str, Any]
    """annotations by name, see :func:`protomask.data.from_datasets`"""


def take_apart(item: Any, what: str) -> Item:
    """Read ``(image, label)``, ``(image, label, annotations)`` or ``{"image": ..., "label": ..., ...}``.

    Raises:
        InputError: it is none of these, or has an annotation of an unknown name.
    """
    if isinstance(item, Mapping):
        missing = [key for key in ("image", "label") if key not in item]
        if missing:
            raise InputError(f"{what}: a dictionary without {missing[0]!r} (it has {', '.join(map(str, item))})")
        extras = {key: value for key, value in item.items() if key not in ("image", "label")}
        return Item(
            item["image"], item["label"], {key: extras[key] for key in ANNOTATIONS if extras.get(key) is not None}
        )
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        many = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise InputError(f"{what}: {type_named(item)}{many}; give (image, label), or (image, label, annotations)")
    extras = item[2] if len(item) == 3 else {}
    if isinstance(extras, str | PathLike):
        extras = {"name": fspath(extras)}
    if not isinstance(extras, Mapping):
        raise InputError(
            f"{what}: its third element is {type_named(extras)}; give a dictionary of annotations "
            f"({', '.join(ANNOTATIONS)}), or leave it out"
        )
    unknown = [key for key in extras if key not in ANNOTATIONS]
    if unknown:
        raise InputError(f"{what}: the annotation {unknown[0]!r} is unknown; known: {', '.join(ANNOTATIONS)}")
    return Item(item[0], item[1], {key: value for key, value in extras.items() if value is not None})


def as_label(value: Any, what: str) -> int | tuple[int, ...]:
    """Read a label: the number of a class, or a vector of ones and zeros, one for each finding.

    A vector of length 1 is returned as one, too: only the data set's classes tell a number from a finding.

    Raises:
        InputError: text, a fraction, a matrix, a vector that holds anything but 0 and 1.
    """
    if isinstance(value, str | bytes):
        raise InputError(f"{what}: the label {value!r} is text; give its number, and the names by classes=[...]")
    try:
        numbers = torch.as_tensor(value if isinstance(value, Tensor | Number) else native(value)).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{what}: the label is {type_named(value)}; give a class number, or a vector of ones and zeros"
        ) from None
    if numbers.is_complex() or not torch.equal(numbers, numbers.to(torch.int64).to(numbers.dtype)):
        raise InputError(f"{what}: the label is {value!r}; give a whole number, or a vector of ones and zeros")
    numbers = numbers.to(torch.int64)
    if numbers.ndim == 0:
        return int(numbers)
    if numbers.ndim > 1 or not len(numbers) or (len(numbers) > 1 and ((numbers < 0) | (numbers > 1)).any()):
        raise InputError(f"{what}: the label is {value!r}; give a class number, or a vector of ones and zeros")
    return tuple(numbers.tolist())


def as_sample(item: Item, what: str, classes: int | None = None) -> Sample:
    """Give the item as a sample of :class:`protomask.data.AnnotatedImages`, without ``label`` and ``position``.

    A PIL image that EXIF says lies on its side is turned upright, and its annotations, in its pixels, with it.

    Args:
        item: see :func:`take_apart`.
        what: names the item in errors.
        classes: how many there are, which ``box_labels`` must be less than; None where that is not known yet.

    Raises:
        InputError: the picture or an annotation is not as documented; begins with ``what``.
    """
    picture = as_picture(item.picture, what)
    height, width = picture.shape[1:]
    size = height, width
    extras = item.extras
    boxes = _boxes(extras.get("boxes"), what)
    sample: Sample = {"image": tv_tensors.Image(picture), "boxes": as_boxes(boxes, size)}
    if "box_labels" in extras:
        sample["box_labels"] = as_places(extras["box_labels"], f"{what}: box_labels").cpu()
        check_box_labels(sample["box_labels"], classes, what)
        if len(sample["box_labels"]) != len(boxes):
            raise InputError(
                f"{what}: {len(sample['box_labels'])} box_labels for {len(boxes)} boxes; give one for each"
            )
    if "mask" in extras:
        sample["mask"] = tv_tensors.Mask(as_mask(extras["mask"], size, what))
    if "points" in extras:
        points = _rows(extras["points"], 2, "points", what)
        seen = points.isfinite().all(1)
        given = _flags(extras["visible"], what) if "visible" in extras else seen
        if len(given) != len(points):
            raise InputError(f"{what}: {len(given)} values of visible for {len(points)} points; give one for each")
        sample["points"] = as_points(points.nan_to_num(0, 0, 0), size)
        sample["visible"] = given & seen
    return settle(turn_sample(sample, turn_of(item.picture, what)))


def check_box_labels(labels: Tensor, classes: int | None, what: str) -> None:
    """Raise InputError, beginning with ``what``, for a box of a class that is none of ``classes``."""
    wrong = labels[(labels < 0) | (labels >= (2**31 if classes is None else classes))].tolist()
    if wrong:
        limit = "" if classes is None else f" and less than {classes}, the number of classes"
        raise InputError(f"{what}: box_labels has the class {wrong[0]}; it must be at least 0{limit}")


def _flags(value: Any, what: str) -> Tensor:
    """(N,) bool: what is not 0."""
    try:
        numbers = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(native(value))
    except (TypeError, ValueError):
        raise InputError(f"{what}: visible is {short(value)}; give True or False for each point") from None
    return numbers.bool().reshape(-1)


def _boxes(value: Any, what: str) -> Tensor:
    if value is None:
        return torch.empty(0, 4, dtype=torch.float32)
    if isinstance(value, tv_tensors.BoundingBoxes):
        value = F.convert_bounding_box_format(value, new_format="XYXY").as_subclass(Tensor)
    boxes = _rows(value, 4, "boxes", what)
    wrong = ~(boxes.isfinite().all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1))
    if wrong.any():
        box = ", ".join(f"{side:g}" for side in boxes[wrong][0].tolist())
        raise InputError(f"{what}: the box ({box}) has no area; give x0, y0, x1, y1 in pixels, end-exclusive")
    small = ((boxes[:, 2:] - boxes[:, :2]) < LEAST_SIDE).any(1) & (boxes <= 1).all(1)
    if small.any():
        box = ", ".join(f"{side:g}" for side in boxes[small][0].tolist())
        raise InputError(
            f"{what}: the box ({box}) is less than a pixel wide or high; boxes are in pixels, not in shares of the "
            "image"
        )
    return boxes


def _rows(value: Any, width: int, name: str, what: str) -> Tensor:
    """(K, width) float32."""
    try:
        rows = (value if isinstance(value, Tensor) else torch.from_numpy(native(value).astype(np.float32))).float()
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {name} cannot be read ({error}); give an array (K, {width})") from None
    if rows.numel() == 0:
        return torch.empty(0, width, dtype=torch.float32)
    if rows.ndim == 1 and len(rows) == width:
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(f"{what}: {name} have the shape {tuple(rows.shape)}; give (K, {width})")
    return rows.detach().cpu()
