"""The protocol of localizers, and what all of them share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from protomask.capabilities import HasScore, HasSimilarityMaps
from protomask.errors import InputError
from protomask.explainable import Explainable, own_dtype, statistics_of
from protomask.given import refuse_run
from protomask.places import as_index, check_numbers
from protomask.prototype_network import PrototypeNetwork

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
            images: (B, C, H, W), normalised as the model expects, on the model's device.
            index: (B,) integers, or one for all: the class or the prototype to explain in each image.
            progress: show a progress bar on standard error.

        Returns:
            (B, H, W) float32 in [0, 1], detached; larger is more important. All zero where nothing stands out.

        Raises:
            InputError: images or index have the wrong shape or type, or images values that no normalised image has.
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


def check_pairs(images: Tensor, index: object, explained: object = None) -> Tensor:
    """Check what a localizer is given, and return the index as a tensor (B,) of integers on the images' device.

    Args:
        images: (B, C, H, W) floating point, finite, normalised as the model expects.
        index: one integer per image: a tensor, an array or a list; one number alone stands for all images.
        explained: where it knows its normalisation (``mean``, ``std``), images that cannot have it are found.

    Raises:
        InputError: wrong shape or type, or values that no normalised image has.
    """
    # Some localizers ask for similarity maps alone; something with neither is a plain network that nobody has wrapped.
    if explained is not None and not isinstance(explained, HasScore | HasSimilarityMaps):
        refuse_run(explained, "the explained model")
        raise InputError(
            f"{type(explained).__name__} has no score; a plain classifier is explained as protomask.Classifier(model)"
        )
    if not isinstance(images, Tensor):
        raise InputError(
            f"images are of type {type(images).__name__}; give a tensor (B, C, H, W), or use protomask.look, which "
            "takes photographs as they are"
        )
    if images.is_meta or images.layout != torch.strided:
        kind = "on the meta device" if images.is_meta else "sparse"
        raise InputError(f"images are a tensor that is {kind}; give a plain one that holds its values")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(f"images have the shape {tuple(images.shape)}; give (B, C, H, W), C = 3 for colour")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; give floating point, normalised as the model expects")
    _check_type(images, explained)
    _check_values(images, explained)
    index = as_index(index, images)
    if index.device != images.device:
        raise InputError(f"images are on {images.device} and index on {index.device}; put both on the model's device")
    if isinstance(explained, PrototypeNetwork):
        check_numbers(index, explained.prototype_count, "prototype")
    return index


def check_maps(maps: object, images: Tensor, name: str, names: Sequence[str] = ()) -> Tensor:
    """Check what a localizer gave for ``images`` (B, C, H, W), and return it detached, in float32.

    Args:
        name: of the localizer.
        names: of the images, for errors.

    Raises:
        InputError: no tensor (B, H, W), or values that are no numbers or outside [0, 1]; names the localizer.
    """
    expected = (len(images), *images.shape[2:])
    if not isinstance(maps, Tensor) or maps.shape != expected:
        given = f"maps of shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(f"localizer {name!r} gives {given}, not a tensor of shape {expected}")
    maps = maps.detach().float()
    wrong = (~maps.isfinite()).flatten(1).any(1).nonzero().flatten()
    if len(wrong):
        of = f" of image {names[int(wrong[0])]!r}" if names else ""
        raise InputError(f"the map by localizer {name!r}{of} is not finite; the model or the localizer is broken there")
    if maps.numel() and (maps.min() < 0 or maps.max() > 1 + 1e-5):
        span = f"from {maps.min().item():.3g} to {maps.max().item():.3g}"
        raise InputError(f"localizer {name!r} gives saliency {span}; maps must lie in [0, 1]")
    return maps


def require_finite(scores: Tensor, explained: object, places: Sequence[int]) -> Tensor:
    """Return ``scores`` (B,); a score that is not finite is an error, never a blank map.

    Args:
        places: the image of each score, by its number in the call.

    Raises:
        InputError: names the first image whose score is infinite or no number.
    """
    wrong = (~scores.detach().isfinite()).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"the score of {name_of_model(explained)} is {scores[first].item()} for image {places[first]}; "
            "a score that is not finite cannot be explained: check the weights and the image"
        )
    return scores


def require_finite_maps(maps: Tensor, explained: object, places: Sequence[int]) -> Tensor:
    """Return similarity maps (B, h, w); one that is not finite is an error, never a blank map.

    Args:
        places: the image of each map, by its number in the call.

    Raises:
        InputError: names the first image whose map is infinite or no number somewhere.
    """
    wrong = (~maps.detach().isfinite().reshape(len(maps), -1).all(1)).nonzero().flatten()
    if len(wrong):
        raise InputError(
            f"the similarity map of {name_of_model(explained)} is not finite for image {places[int(wrong[0])]}; "
            "it shows nothing: check the weights and the image"
        )
    return maps


def name_of_model(explained: object) -> str:
    """Name the class of what is explained; of what this package wraps for learning, that of what is within."""
    while type(explained).__module__.startswith(f"{__package__}.engine.") and isinstance(explained, HasScore):
        explained = getattr(explained, "explained")  # noqa: B009  each of them has it
    return type(explained).__name__


def shorten_repr(value: object, most: int = 80) -> str:
    """Return the repr of a value, cut after ``most`` letters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


LARGEST = 30.0
"""no image normalised as usual has larger values: (1 - 0.406) / 0.225 is 2.6, and 255 stands for pixels as they are
stored"""
BEYOND = 2.0
"""times the value of black or white; noise may go so far beyond, where a model takes values from 0 to 255, say"""


def _check_type(images: Tensor, explained: object) -> None:
    """Raise InputError where a prototype network has numbers of another type; a Classifier looks for itself."""
    if not isinstance(explained, PrototypeNetwork) or torch.is_autocast_enabled(images.device.type):
        return
    own = own_dtype(explained)
    if own not in (None, images.dtype):
        raise InputError(
            f"images are {images.dtype}, but {type(explained).__name__} has weights of {own}; give images.to({own})"
        )


def _check_values(images: Tensor, explained: object) -> None:
    if not images.numel():
        return
    low, high = (value.item() for value in images.detach().float().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("images hold values that are infinite or no numbers (NaN); give finite ones")
    mean = statistics_of(explained, "mean")
    if mean is None:
        return
    spread = min(statistics_of(explained, "std") or (1.0,))  # somebody's own class may know none
    farthest = max(max(abs(each), abs(1 - each)) for each in mean) / spread if spread > 0 else 0.0
    if max(abs(low), abs(high)) > max(LARGEST, BEYOND * farthest):
        raise InputError(
            f"images have values from {low:.3g} to {high:.3g}, but the model expects them normalised; divide by 255, "
            f"subtract the mean {mean} and divide by the standard deviation, or use protomask.look"
        )
    if low >= 0 and high <= 1 and high - low > 0.5 and min(mean) > 0:
        warnings.warn(
            f"all values of the images lie in [0, 1], as if they were not normalised; the model expects the mean "
            f"{mean} subtracted and a division by the standard deviation",
            stacklevel=3,
        )


def fitting_batch_size(batch_size: int | None, images: Tensor) -> int:
    """Choose how many of ``images`` (..., H, W) go through the model at once: ``batch_size``, or what fits if it is
    None.

    What fits is 64 on an accelerator, and on a processor 8 of 224 x 224, of smaller images as many more, up to 32, of
    larger ones fewer: with more, the features leave the processor's cache.
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
