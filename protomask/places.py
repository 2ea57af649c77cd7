"""Places in a list, as people give them: positions of images, numbers of prototypes or classes, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.given import short


def as_places(given: Any, name: str) -> Tensor:
    """Return whole numbers, such as positions of images or numbers of prototypes, as (N,) long on their device.

    Raises:
        InputError: a mask, whose True and False would count as places 1 and 0; fractions; no numbers; names it.
    """
    numbers = _numbers(given, name)
    if numbers.dtype == torch.bool:
        raise InputError(f"{name} is a mask of True and False; give numbers, those of a mask by mask.nonzero()")
    places = numbers.long()
    if not torch.equal(places.to(numbers.dtype), numbers):
        raise InputError(f"{name} is {short(given)}; give whole numbers")
    return places.reshape(-1)


def chosen_places(given: Any, count: int, name: str) -> Tensor:
    """Return places among ``count``, (N,) long: whole numbers as they are, of a mask those that are True.

    Raises:
        InputError: a mask of another shape than (count,); else as :func:`as_places`.
    """
    numbers = _numbers(given, name)
    if numbers.dtype != torch.bool:
        return as_places(numbers, name)
    if tuple(numbers.shape) != (count,):
        raise InputError(f"{name} is a mask of the shape {tuple(numbers.shape)}; give ({count},), or whole numbers")
    return numbers.nonzero().flatten()


def as_index(given: Any, images: Tensor) -> Tensor:
    """Return one whole number per image, such as its class, as (B,); one number alone stands for all images.

    Lists, arrays and plain numbers become a tensor on the device of ``images`` (B, ...); a tensor stays where it is.

    Raises:
        InputError: no whole numbers, or not one for each image.
    """
    try:
        index = given if isinstance(given, Tensor) else torch.as_tensor(given, device=images.device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"index {short(given)} is no list of integers; give one integer per image") from error
    index = index.expand(len(images)) if index.ndim == 0 else index
    if index.shape != images.shape[:1] or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise InputError(
            f"index is {index.dtype} of shape {tuple(index.shape)}; give one integer per image, here ({len(images)},)"
        )
    return index


def check_numbers(index: Tensor, count: int, what: str) -> None:
    """Check that every number (B,) is one of ``count`` that are numbered from 0 on; ``what`` they are is told.

    While a CUDA graph is recorded, or a program compiled or exported, nothing can be looked at, and nothing is.

    Raises:
        InputError: names the number.
    """
    if torch.compiler.is_compiling() or (index.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    wrong = number_outside(index, count)
    if wrong is not None:
        raise InputError(f"there is no {what} {wrong}; the model has {count}, numbered 0 to {count - 1}")


def number_outside(numbers: Tensor, count: int) -> int | None:
    """Find a number (of (N,)) that is none of ``count`` from 0 on; None where all are."""
    least, most = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, -1)
    return most if most >= count else least if least < 0 else None


def native(given: Any) -> np.ndarray:
    """Copy an array or a list into the order and the bytes that torch takes; mirrored or big-endian ones it refuses."""
    values = np.array(given, order="C")
    wide = values.dtype.kind == "u" and values.dtype.itemsize > 1  # torch can hardly calculate with these
    return values.astype(np.int64 if wide else values.dtype.newbyteorder("="), copy=False)


def _numbers(given: Any, name: str) -> Tensor:
    if isinstance(given, Tensor) and not given.is_complex():
        return given.detach()
    try:
        return torch.from_numpy(native(given if isinstance(given, np.ndarray) else list(given)))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {short(given)}; give whole numbers") from None
