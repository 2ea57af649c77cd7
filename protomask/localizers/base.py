"""The protocol of localizers, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.explainable import Explainable

T = TypeVar("T")


@runtime_checkable
class Localizer(Protocol):
    """Find where in an image a score comes from.

    Localizers are frozen dataclasses: the fields are the settings, the repr goes into files. They leave the model's
    mode, gradients and hooks as they were, also after an exception, and a batch gives what a loop over its images
    gives.
    """

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """Compute the saliency of one index per image.

        Args:
            explained: the model; only its ``score`` is used, unless the localizer says otherwise.
            images: (B, 3, H, W), normalised as the model expects, on the model's device.
            index: (B,) long; the class or the prototype to explain in each image.
            progress: show a progress bar on standard error.

        Returns:
            (B, H, W) float32 in [0, 1], detached; larger is more important. All zero where nothing stands out.

        Raises:
            InputError: images or index have the wrong shape or type.
        """
        ...


@runtime_checkable
class ChoosesSettings(Protocol):
    """A localizer that chooses the settings that were not given by what it explains."""

    def for_model(self, explained: Explainable) -> Localizer:
        """Fill in every setting, as it is used for this model."""
        ...


@runtime_checkable
class ChoosesOutline(Protocol):
    """A localizer whose published pictures are outlined at a level of their own."""

    def outline_level(self, explained: Explainable) -> float | None:
        """Give the share of a map's maximum at which its picture is outlined; None where there is no such rule."""
        ...


def check_pairs(images: Tensor, index: Tensor) -> None:
    """Raise InputError unless ``images`` is (B, 3, H, W) floating point and ``index`` (B,) of integers on the same device."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images have the shape {tuple(images.shape)}; give (B, 3, H, W)")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; give floating point, normalised as the model expects")
    if index.shape != images.shape[:1] or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise InputError(
            f"index is {index.dtype} of shape {tuple(index.shape)}; give one integer per image, here ({len(images)},)"
        )
    if index.device != images.device:
        raise InputError(f"images are on {images.device} and index on {index.device}; put both on the model's device")


def fitting_batch_size(batch_size: int | None, images: Tensor) -> int:
    """Choose how many of ``images`` (..., H, W) go through the model at once: ``batch_size``, or what fits if it is None.

    What fits is 64 on an accelerator, and on a processor 8 of 224 x 224, of smaller images as many more, up to 32, of larger
    ones fewer: with more, the features leave the processor's cache.
    """
    fitting = round(8 * 224 * 224 / images.shape[-2:].numel())
    return batch_size or (64 if images.device.type != "cpu" else min(max(fitting, 1), 32))


def run_in_chunks(count: int, at_once: int, work: Callable[[slice], T]) -> list[T]:
    """Call ``work`` on the numbers below ``count``, ``at_once`` of them at a time.

    Half as many at a time, and half of that, where memory does not suffice.
    """
    results, start = [], 0
    while start < count:
        try:
            results.append(work(slice(start, min(start + at_once, count))))
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
        else:
            start += at_once
    return results


def min_max(maps: Tensor) -> Tensor:
    """Scale maps (..., H, W) so that each one's least value is 0 and its greatest 1; float32.

    A constant map becomes all zero, and values that are not finite count as 0: nothing stands out there.

    >>> min_max(torch.tensor([[[1.0, 3.0], [2.0, 5.0]]]))
    tensor([[[0.0000, 0.5000],
             [0.2500, 1.0000]]])
    """
    maps = maps.detach().float().nan_to_num(0.0, 0.0, 0.0)
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    # What differs by rounding alone is constant, too.
    spread = torch.where(high - low > 1e-5 * high.abs().maximum(low.abs()), high - low, torch.inf)
    return ((maps - low) / spread).clamp(0, 1)
