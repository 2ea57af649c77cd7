"""Data sets with annotations. ``load_data`` opens one by name (third parties add theirs by an entry point),
``from_datasets`` takes any torch Dataset of (image, label)."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from protomask.data.alike import check_names
from protomask.data.datasets import from_datasets
from protomask.data.images import AnnotatedImages, Splits, collate
from protomask.data.problems import noted, opened_for_a_run
from protomask.data.splitting import check_share, check_splits, hold_out
from protomask.errors import InputError, did_you_mean, type_named
from protomask.files import check_usable
from protomask.given import as_flag
from protomask.registered import find_registered, load_registered, told_in_one_line

__all__ = ["AnnotatedImages", "Splits", "collate", "data_names", "from_datasets", "load_data"]

# Each module has a function load(root, **options) -> Splits; imported when asked for.
_BUILT_IN = {name: f"protomask.data.{name}" for name in ("parts", "cub", "busi", "chestxray", "folder", "hf")}
_NAMED = "hf:"  # how the name of a data set of Hugging Face datasets begins
_GROUP = "protomask.datasets"


def load_data(
    name: str,
    root: str | Path | None = None,
    *,
    crop: bool | None = None,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    **others,
) -> Splits:
    """Open a data set, without transforms: give each split its own with ``with_transform``.

    >>> splits = load_data("cub", "CUB_200_2011", image_size=224)      # doctest: +SKIP
    >>> splits.train.with_transform(training_transform(224, mean, std))    # doctest: +SKIP

    Args:
        name: a built-in data set (``parts``, ``cub``, ``busi``, ``chestxray``, ``folder``), ``hf:`` with a folder or a
            name for Hugging Face ``datasets`` (:mod:`protomask.data.hf`), or the name of an entry point in the group
            ``protomask.datasets``: a function ``load(root, *, crop, seed, image_size, validation, ...) -> Splits``,
            which may leave out those of the four that mean nothing to it. Without ``validation`` it leaves that split
            empty.
        root: where its files are; ``parts`` needs none.
        crop: cut images to their boxes; None leaves it to the data set (``cub`` crops, ``folder`` does not). True is
            refused where the data set has no such option.
        validation: share of the training images, class by class, that becomes ``validation``; 0 for none. A data set
            that comes with validation images keeps those, and its training images whole; one with groups of images that
            belong together (``busi``, ``chestxray``) keeps each group on one side.
        seed: of every random choice of images.
        image_size: side of the network's input in pixels; lets a data set decode or render at a fitting size.
        others: further options of that data set.

    Raises:
        InputError: an unknown name (the message lists those there are) or option; a crop where there is none; what the
            data set finds wrong; fewer than two classes; a class without training images; two classes whose names are
            the same to the eye.
    """
    cropped = crop is not None and as_flag(crop, "crop")
    if cropped:
        _require_crop(find_data(name), name)
    splits = _open(name, root, crop=crop, validation=validation, seed=seed, image_size=image_size, **others)
    with noted():  # of a run that exists, which learned them as different classes, it is a remark
        check_names(splits.train.classes, str(root) if root is not None else f"data set {name!r}")
    if cropped and name == "folder" and root is not None:
        from protomask.data.folder import require_boxes

        require_boxes(Path(root))
    return splits


def reopen_data(
    name: str,
    root: str | Path | None = None,
    *,
    crop: bool | None = None,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    **others,
) -> Splits:
    """Open the data set of a run that exists: what earlier versions took, as a crop without boxes, is no error.

    Args: as for :func:`load_data`.
    """
    with opened_for_a_run():
        return _open(name, root, crop=crop, validation=validation, seed=seed, image_size=image_size, **others)


def _open(
    name: str,
    root: str | Path | None,
    *,
    crop: bool | None,
    validation: float,
    seed: int,
    image_size: int | None,
    **others,
) -> Splits:
    load = find_data(name)
    check_share("validation", validation)
    usual: dict[str, Any] = {"seed": seed, "image_size": image_size} | ({} if crop is None else {"crop": crop})
    # A data set that has the option holds out its validation images itself.
    holds_out = "validation" in inspect.signature(load).parameters
    if holds_out:
        usual["validation"] = validation
    if root is not None:
        check_usable(root, "give the data set's folder")
    splits = load(None if root is None else Path(root), **_accepted(load, name, usual, others))
    with noted():
        check_splits(splits, str(root) if root is not None else f"data set {name!r}")
    if validation > 0 and len(splits.validation) == 0 and not holds_out:
        kept, held = hold_out(splits.train.labels, validation, seed)
        splits = replace(splits, train=splits.train.subset(kept), validation=splits.train.subset(held))
    return splits


def data_names() -> tuple[str, ...]:
    """List the names that :func:`load_data` knows: built-in ones first."""
    registered = {point.name for point in entry_points(group=_GROUP) if not point.name.startswith(_NAMED)}
    return (*_BUILT_IN, *sorted(registered - _BUILT_IN.keys()))


def find_data(name: str) -> Callable[..., Splits]:
    """Find the function that opens a data set.

    Raises:
        InputError: an unknown name; what another package registers cannot be loaded or called; several do so under
            this name.
    """
    place = _BUILT_IN["hf"] if name.startswith(_NAMED) else _BUILT_IN.get(name)
    point = find_registered(entry_points(group=_GROUP), name, "data set", None if place is None else f"{place}:load")
    if name.startswith(_NAMED):
        from protomask.data.hf import reader

        return reader(name.removeprefix(_NAMED))
    if place is not None:
        return importlib.import_module(place).load
    if point is not None:
        return _checked(load_registered(point, "data set"), point)
    known = data_names()
    raise InputError(f"unknown data set {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")


def _checked(load: object, point: EntryPoint) -> Callable[..., Splits]:
    """Refuse what another package registers where it cannot be called, fails, or gives no splits."""
    what = f"data set {point.name!r} ({point.value})"
    if not callable(load):
        raise InputError(f"{what} cannot be called; its entry point names a function")
    with told_in_one_line(what):
        inspect.signature(load)  # of some built-in functions nobody knows what they take

    @wraps(load)
    def opened(*given: Any, **options: Any) -> Splits:
        with told_in_one_line(what):
            splits = load(*given, **options)
        if not isinstance(splits, Splits):
            raise InputError(f"{what} gives {type_named(splits)}, not protomask.data.Splits; mend that function")
        for part in ("train", "validation", "test"):
            if not isinstance(found := getattr(splits, part), AnnotatedImages):
                raise InputError(
                    f"{what} gives Splits whose {part} is {type_named(found)}; make them with protomask.from_datasets, "
                    "or of protomask.data.AnnotatedImages"
                )
        return splits

    return opened


def _takes(load: Callable, option: str) -> bool:
    parameters = inspect.signature(load).parameters
    return option in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _require_crop(load: Callable, name: str) -> None:
    """Refuse to leave images whole that were asked for cropped."""
    if not _takes(load, "crop"):
        known = [one for one, place in _BUILT_IN.items() if _takes(importlib.import_module(place).load, "crop")]
        raise InputError(
            f"crop is given, but data set {name!r} cannot crop images to boxes ({', '.join(known)} can); leave it out"
        )


def _accepted(load: Callable, name: str, usual: dict, others: dict) -> dict:
    """Give the usual options that ``load`` has, and all the others; InputError for another that it has not."""
    parameters = inspect.signature(load).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return usual | others
    for option in others:
        if option not in parameters:
            known = ", ".join(list(parameters)[1:])
            raise InputError(f"data set {name!r} has no option {option!r}; it has: {known}")
    return {option: value for option, value in (usual | others).items() if option in parameters}
