""" "This looks like that" for new images, by a run's prototypes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from protomask.data.decoding import decode
from protomask.data.folder import SUFFIXES
from protomask.data.pictures import as_picture
from protomask.errors import InputError
from protomask.explanations.predictions import explain
from protomask.explanations.records import Explanation
from protomask.run.results import Explanations
from protomask.run.setup import Localizers, pictures_localizers

if TYPE_CHECKING:
    from protomask.run.opened import Run


def explain_images(run: Run, images: Any, **settings) -> Explanations:
    """Explain all of some images, which are checked before any work; see :meth:`protomask.run.Run.explain`."""
    named = name_images(images)
    check_images(named, run.options.levels())
    return Explanations(explanation for explanation, _ in explain_each(run, named, **settings))


def explain_each(
    run: Run,
    named: Sequence[tuple[str, Any]],
    *,
    localizer: Localizers | None = None,
    top: int = 3,
    counter: int = 1,
) -> Iterator[tuple[Explanation, Tensor]]:
    """Explain images one after the other, as they are asked for.

    Args:
        run: with pictures of its prototypes.
        named: from :func:`name_images`.
        localizer, top, counter: see :meth:`protomask.run.Run.explain`.

    Yields:
        The explanation, and the network's input (1, 3, H, W). With several findings per image there may be several
        explanations of one input.

    Raises:
        InputError: see :meth:`protomask.run.Run.explain`.
    """
    for name, value, least in (("top", top, 1), ("counter", counter, 0)):
        if value < least:
            raise InputError(f"{name} is {value}; give at least {least}")
    localizers = pictures_localizers(run.options.localizer if localizer is None else localizer)
    pictures = run.pictures
    missing = [name for name in localizers if name not in pictures[0].maps]
    if missing:
        raise InputError(
            f"the prototypes of {run.folder} have no maps of {', '.join(missing)} to show beside the image's; "
            f"make them with: protomask project {run.folder} --localizer {','.join(localizers)}"
        )
    for name, image in named:
        batch = pixels_as_batch(_pixels(name, image, run.options.levels()), run.transform).to(run.device)
        for explanation in explain(
            run.network, batch, [name], pictures, localizers, top=top, counter=counter, progress=run.progress
        ):
            yield explanation, batch


def save_mask_growth(
    run: Run, explanation: Explanation, batch: Tensor, path: Path, localizer: Localizers | None = None
) -> None:
    """Write a GIF of how the first localizer learns the mask of the explanation's strongest prototype.

    Args:
        batch: the network's input (1, 3, H, W) that was explained.
        path: of the file.
    """
    from protomask.report import grow, save_animation

    localizers = pictures_localizers(run.options.localizer if localizer is None else localizer)
    name, record = next(iter(localizers)), explanation.matches[0].prototype.record
    stages = grow(localizers[name], run.network, batch[0], record.prototype, progress=run.progress)
    save_animation(path, explanation.image, stages, name, f"Prototype {record.prototype}, {record.class_name}")


def name_images(images: Any) -> list[tuple[str, Any]]:
    """Each image with a name: its path, or "image" and its number. Folders are searched through and through.

    Raises:
        InputError: no image; a file or folder is missing, or a folder has no pictures.
    """
    single = isinstance(images, str | os.PathLike) or hasattr(images, "convert") or _is_picture(images)
    found: list[tuple[str, Any]] = []
    for number, each in enumerate([images] if single else list(images)):
        if isinstance(each, str | os.PathLike):
            found += [(str(path), path) for path in find_pictures(Path(each))]
        else:
            found.append((f"image {number}", each))
    if not found:
        raise InputError("there is no image to explain; give a path, a picture, or a list of them")
    return found


def _is_picture(images: Any) -> bool:
    return getattr(images, "ndim", 0) in (2, 3)


def find_pictures(path: Path) -> list[Path]:
    """The file itself, or the pictures below a folder, sorted.

    Raises:
        InputError: nothing is there, or no picture.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: no such picture or folder")
        return [path]
    found = sorted(
        each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")
    )
    if not found:
        raise InputError(f"{path} holds no pictures ({', '.join(SUFFIXES)}); give files, or a folder that has some")
    return found


def check_images(named: list[tuple[str, Any]], intensity_range: tuple[float, float] | None = None) -> None:
    """InputError for the first image that cannot be read."""
    for name, image in named:
        _pixels(name, image, intensity_range)


def _pixels(name: str, image: Any, intensity_range: tuple[float, float] | None) -> np.ndarray:
    """(H, W, 3) uint8."""
    if isinstance(image, Path):
        return decode(image, intensity_range=intensity_range)[0]
    return as_picture(image, name).permute(1, 2, 0).contiguous().numpy()


def as_batch(path: str | os.PathLike, transform) -> Tensor:
    """An image file as (1, 3, H, W), normalised.

    Raises:
        InputError: it cannot be read.
    """
    return pixels_as_batch(decode(Path(path))[0], transform)


def pixels_as_batch(pixels: np.ndarray, transform) -> Tensor:
    """An image (H, W, 3) uint8 as (1, 3, H', W'), through the transform of a data set."""
    from torchvision import tv_tensors

    image = tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1))
    boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=tuple(image.shape[-2:]))
    sample = transform({"image": image, "boxes": boxes, "label": 0, "position": 0})
    return sample["image"].as_subclass(Tensor)[None]
