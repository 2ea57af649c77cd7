"""Feature maps of a backbone that does not learn: computed once, kept in files, read in the place of the images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.capabilities import HasBackbone
from protomask.data import AnnotatedImages
from protomask.data.images import Sample
from protomask.errors import InputError
from protomask.files import write_atomically
from protomask.freezing import frozen
from protomask.training.loading import derive_seed, ordered_batches
from protomask.training.object_patches import object_shares
from protomask.training.stages import TrainingSet

CHUNK = 2**26
"""about the bytes of one file"""
OPEN = 64
"""files that are open at a time"""


class FeatureMaps(AnnotatedImages):
    """Give the feature map (C, h, w) of each image as its ``image``; of several views of it, one drawn at random.

    Args:
        data: whose images they are.
        views: the files of each view, in the order of the images.
        rows: images of each file.
        objects: other files tell what the object covers of each cell; the maps' ``mask`` (1, h, w) in [0, 1].
    """

    def __init__(
        self, data: AnnotatedImages, views: Sequence[Sequence[Path]], rows: int, objects: bool = False
    ) -> None:
        super().__init__(data.classes, data.labels, data.names)
        self.views, self.rows, self.objects = [list(view) for view in views], rows, objects

    def load(self, index: int) -> Sample:
        # torch's global generator: a training batch seeds it for each sample.
        view = self.views[int(torch.randint(len(self.views), ())) if len(self.views) > 1 else 0]
        chunk, row = divmod(index, self.rows)
        found = {
            "image": torch.from_numpy(_opened(view[chunk])[row].astype(np.float32)),
            "boxes": torch.empty(0, 4, dtype=torch.float32),
        }
        if self.objects:
            found["mask"] = torch.from_numpy(_opened(_objects(view[chunk]))[row].astype(np.float32))[None]
        return found


@contextmanager
def passing_features(network: HasBackbone) -> Iterator[None]:
    """Let the backbone give back the feature maps that it is given: with :class:`FeatureMaps` in the images' place,
    everything that learns above the backbone works as always. Its weights stay where they are."""
    backbone = network.backbone
    backbone.forward = _unchanged  # type: ignore[method-assign]
    try:
        yield
    finally:
        del backbone.forward  # the class's own is seen again


def store_features(
    network: HasBackbone, data: AnnotatedImages, setup: TrainingSet, folder: Path, name: str, views: int = 1
) -> FeatureMaps:
    """Compute the backbone's feature maps of all images and write them to files; those that are there already stay.

    What is looked at as it is (one view) is exact: it is measured, and prototypes become patches of it. Several views
    are in half precision, whose rounding is nothing beside what makes them differ; a file that would overflow is exact,
    too. A killed process loses the file it was at work on. Several processes share the work, and need the same folder.

    Args:
        network: whose ``backbone`` is meant.
        data: with its transform, which may be random: then each view draws anew.
        setup: the machine, and the seed of what is drawn.
        folder: for these data, weights and transforms alone.
        name: how the files begin.
        views: times that each image is seen.

    Raises:
        InputError: no room on the disk, said before the work; the files cannot be written.
    """
    number = torch.float16 if views > 1 else torch.float32
    size = number.itemsize * network.backbone.channels * network.grid[0] * network.grid[1]
    rows = max(1, CHUNK // size)
    starts = range(0, len(data), rows)
    files = [[folder / f"{name}-{view}-{chunk}.npy" for chunk in range(len(starts))] for view in range(views)]
    missing = [
        (view, chunk) for view in range(views) for chunk in range(len(starts)) if not files[view][chunk].exists()
    ]
    distributed.barrier()  # all have looked before one of them writes
    _require_room(folder, size * sum(min(rows, len(data) - starts[chunk]) for _, chunk in missing))
    mine = missing[distributed.rank() :: distributed.size()]
    work = [(view, chunk, range(len(data))[starts[chunk] : starts[chunk] + rows]) for view, chunk in mine]
    loader = setup.seeded_loader(data)
    total = sum(len(part) for _, _, part in work)
    with tqdm(total=total, desc=f"features, {name}", leave=False, disable=not setup.progress) as bar:
        for view, chunk, part in work:
            found, objects = [], []
            for batch in loader(ordered_batches(part, setup.batch_size, derive_seed(setup.seed, view))):
                with frozen(network.backbone), torch.inference_mode(), setup.autocast():
                    images = batch["images"].to(setup.device, memory_format=torch.channels_last)
                    found.append(network.backbone(images).float().cpu())
                if setup.on_object:
                    objects.append(object_shares(batch, network.grid))
                bar.update(len(images))
            if objects:
                _write(_objects(files[view][chunk]), torch.cat(objects), number)
            _write(files[view][chunk], torch.cat(found), number)
    distributed.barrier()
    return FeatureMaps(data, files, rows, setup.on_object)


def _objects(path: Path) -> Path:
    """Name the file beside a file of maps that says where the object is."""
    return path.with_name(f"{path.stem}-object.npy")


def forget_files() -> None:
    """Close the files that were read, so that they can be deleted."""
    _opened.cache_clear()


def _write(path: Path, maps: Tensor, number: torch.dtype) -> None:
    rounded = maps.to(number)
    array = (rounded if bool(rounded.isfinite().all()) else maps).contiguous().numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array)

    write_atomically(path, write)


def _require_room(folder: Path, size: int) -> None:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise InputError(
            f"the feature maps need {size / 2**30:.1f} GB beside the run, and {place} has {free / 2**30:.1f} GB left; "
            "make room there, or train with recipe=default"
        )


@lru_cache(OPEN)
def _opened(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} holds no feature maps any more ({error}); delete {path.parent} and resume the run"
        ) from error


def _unchanged(images: Tensor) -> Tensor:
    return images
