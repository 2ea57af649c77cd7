"""The maps of one localizer that metrics ask for, of the images and of images or networks that were changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from protomask.evaluation.batch import Batch
from protomask.evaluation.store import Store
from protomask.evaluation.variants import IMAGE, Variant
from protomask.localizers.base import check_maps
from protomask.localizers.calling import call_localizer
from protomask.prototype_network import PrototypeNetwork
from protomask.warned import maps_nobody_asked_about, named_maps


@runtime_checkable
class ReadsTruth(Protocol):
    """A localizer that reads the truth of the data instead of looking at the model: the oracle."""

    def from_truth(self, batch: Batch) -> Tensor:
        """Draw the maps of the batch's pairs, (B, H, W) in [0, 1]."""
        ...


class Maps:
    """Make a localizer's maps of batches, and keep them in a store.

    A localizer that :class:`ReadsTruth` is asked for that instead of being called.

    Attributes:
        seconds: name of a pair -> what its map of the unchanged image cost, when it was made.
    """

    def __init__(self, name: str, localizer: Callable, store: Store) -> None:
        self.name, self.localizer, self.store = name, localizer, store
        self.seconds: dict[str, float] = {}
        self._last: tuple[list[str], dict[str, Tensor]] = ([], {})  # the batch at hand, so that no map is made twice

    def __call__(self, batch: Batch, variant: Variant = IMAGE) -> Tensor:
        """Give the maps of a batch, (B, H, W) on its device.

        Raises:
            InputError: the localizer gives maps of a wrong shape, not finite or outside [0, 1]; the message names it
            and the image.
        """
        if self._last[0] != batch.names:
            self._last = (batch.names, {})
        if variant.key not in self._last[1]:
            self._last[1][variant.key] = self._make(batch, variant)
        return self._last[1][variant.key]

    def _make(self, batch: Batch, variant: Variant) -> Tensor:
        names = [f"{name}/{variant.key}" for name in batch.names]
        found = self.store.get(names)
        if found is not None:
            return torch.stack(found).to(batch.images.device)
        images = variant.images(batch, lambda: self(batch)).to(batch.images.dtype)
        with maps_nobody_asked_about(variant is not IMAGE):
            saliency, spent = self._localize(variant.question(batch), images)
        entries = dict(zip(names, saliency))
        if variant is IMAGE:
            self.seconds |= dict.fromkeys(batch.names, spent / len(names))
            entries |= {
                f"{name}/seconds": torch.tensor(spent / len(names), dtype=torch.float64) for name in batch.names
            }
        self.store.put(entries)
        return saliency

    def seconds_of(self, batch: Batch) -> list[float]:
        """Give what each pair's map cost; it is made where that is not known."""
        stored = self.store.get(f"{name}/seconds" for name in batch.names)
        if stored is not None:
            return [float(each) for each in stored]
        if not all(name in self.seconds for name in batch.names):
            self(batch)
        return [self.seconds[name] for name in batch.names]

    def _localize(self, batch: Batch, images: Tensor) -> tuple[Tensor, float]:
        """Make maps, and measure the seconds they take."""

        def now() -> float:
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
            return time.perf_counter()

        before = now()
        if isinstance(self.localizer, ReadsTruth):
            saliency = self.localizer.from_truth(batch)
        else:
            with named_maps(lambda place: _named(batch, place)):
                saliency = call_localizer(self.localizer, batch.explained, images, batch.index, self.name)
        spent = now() - before
        return self._check(saliency, batch), spent

    def _check(self, saliency: object, batch: Batch) -> Tensor:
        if isinstance(saliency, Tensor) and len(saliency.shape) == 3 and len(saliency) == len(batch.images):
            batch.require_finite(saliency, f"the map by localizer {self.name!r}")  # names the image
        return check_maps(saliency, batch.images, self.name)


def _named(batch: Batch, place: int) -> str:
    """Name a pair in a warning."""
    kind = "prototype" if isinstance(batch.explained, PrototypeNetwork) else "class"
    return f"{batch.data.names[batch.positions[place]]}, {kind} {int(batch.index[place])}"
