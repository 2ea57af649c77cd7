"""The maps of one localizer that metrics ask for, of the images and of images or networks that were changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from protomask.evaluation.batch import Batch
from protomask.evaluation.store import Store
from protomask.localizers.base import check_maps
from protomask.metrics import faithfulness, part_points, steadiness


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

    def __call__(self, batch: Batch, kind: str = "image") -> Tensor:
        """Give the maps of a batch, (B, H, W) on its device.

        Args:
            batch: the pairs.
            kind: ``"image"``; ``"kept"``, of what the map leaves of the image; ``"noisy"``, of the image under the
                noise of the stability metric; ``"unseen noise"``, of the image with noise below half a grey level;
                ``"nearby 0"``, ``"nearby 1"``, ..., of the images of max-sensitivity; ``"randomised"``, by the network
                with its parameters shuffled; ``"another class"``, of a prototype of another class, or of another class;
                ``"sibling 0"``, ``"sibling 1"``, ..., of each prototype of the same class.

        Raises:
            InputError: the localizer gives maps of a wrong shape, not finite or negative; the message names it and the
            image.
        """
        if self._last[0] != batch.names:
            self._last = (batch.names, {})
        if kind not in self._last[1]:
            self._last[1][kind] = self._make(batch, kind)
        return self._last[1][kind]

    def _make(self, batch: Batch, kind: str) -> Tensor:
        names = [f"{name}/{kind}" for name in batch.names]
        found = self.store.get(names)
        if found is not None:
            return torch.stack(found).to(batch.images.device)
        saliency, spent = self._localize(_changed(batch, kind), self._images(batch, kind))
        entries = dict(zip(names, saliency))
        if kind == "image":
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

    def _images(self, batch: Batch, kind: str) -> Tensor:
        if kind == "kept":
            return batch.images * faithfulness.minmax(self(batch))[:, None]
        if kind == "noisy":
            return part_points.add_noise(batch.images, [int(name.partition("-")[0], 16) >> 1 for name in batch.names])
        seeds = [int(name.partition("-")[0], 16) >> 1 for name in batch.names]
        if kind == "unseen noise":
            return steadiness.nearby(batch.images, seeds)
        if kind.startswith("nearby "):
            again = [(seed + 1 + int(kind.split()[1])) % 2**63 for seed in seeds]
            return steadiness.nearby(batch.images, again, steadiness.RADIUS)
        return batch.images

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
            saliency = self.localizer(batch.explained, images, batch.index)
        spent = now() - before
        return self._check(saliency, batch), spent

    def _check(self, saliency: object, batch: Batch) -> Tensor:
        if isinstance(saliency, Tensor) and len(saliency.shape) == 3 and len(saliency) == len(batch.images):
            batch.require_finite(saliency, f"the map by localizer {self.name!r}")  # names the image
        return check_maps(saliency, batch.images, self.name)


def _changed(batch: Batch, kind: str) -> Batch:
    """Give the batch with the network, or with the index, that maps of this kind are of."""
    if kind == "randomised":
        return batch.with_network(batch.subject.randomised)
    if kind == "another class" or kind.startswith("sibling "):
        return batch.with_index(batch.index_of_kind(kind))
    return batch
