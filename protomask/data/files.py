"""Images in files, with whatever annotations a reader (``cub``, ``folder``) found for them."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.cache import CAP, PixelCache
from protomask.data.decoding import decode, image_size
from protomask.data.depth import IntensityRange, check_range
from protomask.data.geometry import as_boxes, as_points, move, settle
from protomask.data.images import AnnotatedImages, Sample
from protomask.data.masks import Region, decode_mask
from protomask.data.problems import noted
from protomask.data.raster import MEND, MISSING
from protomask.data.words import Paths
from protomask.errors import InputError
from protomask.files import check_regular_file
from protomask.given import as_flag

# An image is decoded at half, a quarter... of its size while its shorter side stays this many times the network's.
_SPARE = 1.5


class FileImages(AnnotatedImages):
    """Read images in files, with the annotations that a reader found for them.

    Args:
        classes, labels, names, part_names: see :class:`AnnotatedImages`.
        paths: (len,) the files.
        boxes: (len,) for each image K rows x0, y0, x1, y1 in pixels of the upright image.
        box_labels: (len,) for each image the K classes of its boxes, where boxes belong to single findings.
        points, visible: (len, N, 2) and (len, N), or None.
        masks: (len,) the mask files of each image, whose union is its mask, or None where the data set has no masks.
        mask_above: a mask's pixel is on the object when its value is greater than this.
        crop: cut each image to the box around all its boxes: int(x0) to int(x1), as the official ProtoPNet does, and
            within the image. An image without a box stays whole.
        image_size: side of the network's input in pixels: photographs more than twice as large as it needs are decoded
            smaller (and their annotations with them). None decodes every image at its full size.
        cache: bytes of memory that decoded pixels may take; a data set that needs more is decoded anew each time, and
            one that needs less is kept. 0 keeps nothing.
        boxes_from, box_lines: the file that boxes come from, and (len,) K lines of it for each image, named in errors.
        intensity_range: (low, high), the values of grey images of more than 8 bits that become 0 and 255.

    Raises:
        InputError: a file is missing or empty; a box lies outside its image; an image cannot be read. The last two are
            found here when the data set is small enough to be kept in memory, otherwise when the image is read.
    """

    def __init__(
        self,
        classes: Sequence[str],
        labels: Sequence[int] | Tensor,
        names: Sequence[str],
        paths: Sequence[Path],
        boxes: Sequence[Sequence[Sequence[float]]],
        *,
        box_labels: Sequence[Sequence[int]] | None = None,
        part_names: Sequence[str] = (),
        points: np.ndarray | None = None,
        visible: np.ndarray | None = None,
        masks: Sequence[Sequence[Path]] | None = None,
        mask_above: int = 0,
        crop: bool = False,
        image_size: int | None = None,
        cache: int = CAP,
        boxes_from: str = "the boxes",
        box_lines: Sequence[Sequence[int]] | None = None,
        intensity_range: IntensityRange | None = None,
    ):
        super().__init__(classes, labels, names, part_names)
        self.paths: Sequence[Path] = Paths(paths)
        self._all_names = self.names  # a subset has other names than what is stored
        self.crop = as_flag(crop, "crop")
        self.image_size = image_size
        self.intensity_range = check_range(intensity_range)
        self._masks = masks
        self.mask_above = mask_above
        self._boxes_from = boxes_from
        # One array for all boxes, not a tensor each: forked workers share it without copying. In float64, since a sum
        # x + width just below an integer must not be rounded up before the crop cuts its decimals off.
        rows = [np.asarray(one, dtype=np.float64).reshape(-1, 4) for one in boxes]
        self._boxes = np.concatenate([np.empty((0, 4)), *rows]).clip(-1e9, 1e9)  # beyond any image, within float32
        self._first_box = np.concatenate([[0], np.cumsum([len(b) for b in boxes])]).astype(np.int64)
        self._box_labels = (
            None if box_labels is None else torch.tensor([one for own in box_labels for one in own], dtype=torch.long)
        )
        self._box_lines = (
            None if box_lines is None else np.array([line for own in box_lines for line in own], dtype=np.int64)
        )
        self._points = None if points is None else torch.as_tensor(points, dtype=torch.float32)
        self._visible = None if visible is None else torch.as_tensor(visible, dtype=torch.bool)
        self._bytes = np.fromiter((_file_bytes(path) for path in self.paths), np.int64, len(self.paths))
        self._sizes: list[tuple[int, int]] | None = None
        self._cache = self._plan_cache(cache)

    def load(self, index: int) -> Sample:
        pixels, mask, region, divisor = self._pixels(index)
        frame = pixels.shape[:2]
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        boxes = torch.from_numpy(self._boxes_of(index).astype(np.float32))
        sample = {"image": tv_tensors.Image(image), "boxes": as_boxes(move(boxes, region[:2], divisor), frame)}
        if mask is not None:
            sample["mask"] = tv_tensors.Mask(torch.from_numpy(mask.copy())[None])
        if self._box_labels is not None:
            sample["box_labels"] = self._box_labels[self._first_box[index] : self._first_box[index + 1]]
        if self._points is not None and self._visible is not None:
            sample["points"] = as_points(move(self._points[index], region[:2], divisor), frame)
            sample["visible"] = self._visible[index]
        return settle(sample)

    def identity(self, index: int) -> str:
        told = (int(self._bytes[index]), self.crop, self._boxes_of(index).tolist())
        return repr(told if self.intensity_range is None else (*told, self.intensity_range))

    def files(self, index: int) -> tuple[Path, ...]:
        return (self.paths[index], *(self._masks[index] if self._masks is not None else ()))

    def annotations(self, index: int) -> str:
        points = None
        if self._points is not None and self._visible is not None:
            points = self._points[index].tolist(), self._visible[index].tolist()
        first, end = self._first_box[index], self._first_box[index + 1]
        labels = None if self._box_labels is None else self._box_labels[first:end].tolist()
        return "" if points is None and labels is None else repr((points, labels))

    def _boxes_of(self, index: int) -> np.ndarray:
        return self._boxes[self._first_box[index] : self._first_box[index + 1]]

    def _choose(self, index: int, size: tuple[int, int]) -> tuple[Region, int]:
        """Which pixels of stored image ``index``, whose (width, height) is ``size``, are kept, and how much smaller."""
        width, height = size
        outside = self.outside(index, size)
        if outside:
            raise InputError(outside[0])
        boxes = self._boxes_of(index)
        x0, y0, x1, y1 = 0, 0, width, height
        if self.crop and len(boxes):
            x0, y0 = (max(0, int(side)) for side in boxes[:, :2].min(axis=0))
            x1, y1 = (int(side) for side in boxes[:, 2:].max(axis=0))
            x1, y1 = min(width, max(x1, x0 + 1)), min(height, max(y1, y0 + 1))
        divisor = self._divisor(x1 - x0, y1 - y0)
        x0, y0 = x0 // divisor * divisor, y0 // divisor * divisor
        return (x0, y0, x1, y1), divisor

    def outside(self, index: int, size: tuple[int, int]) -> list[str]:
        """Write a message for each box of an image that shares no pixel with it."""
        width, height = size
        boxes, first = self._boxes_of(index), self._first_box[index]
        outside = (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
        messages = []
        for place in outside.nonzero()[0]:
            line = "" if self._box_lines is None else f":{self._box_lines[first + place]}"
            box = ", ".join(f"{side:g}" for side in boxes[place])
            messages.append(
                f"{self._boxes_from}{line}: the box ({box}) of {self._all_names[index]} lies outside its image, which "
                f"is {width} x {height} pixels; mend or remove it"
            )
        return messages

    def problems(self, index: int) -> list[str]:
        """List what is wrong with stored image ``index``, its boxes and its masks; decodes them all."""
        found, size = [], None
        try:
            _, size = decode(
                self.paths[index], lambda size: ((0, 0, *size), self._divisor(*size)), self.intensity_range
            )
            found += self.outside(index, size)
        except InputError as error:
            found.append(str(error))
        for path in self._masks[index] if self._masks is not None else ():
            if not os.path.lexists(path):
                continue  # its reader has said so
            try:
                whole = size or image_size(path)
                decode_mask(path, whole, (0, 0, *whole), 1, self.mask_above)
            except InputError as error:
                found.append(str(error))
        return [" ".join(message.split()) for message in found]

    def _divisor(self, width: int, height: int) -> int:
        """By how much an image, or a region of one, of this size is decoded smaller."""
        return divisor_for((width, height), self.image_size)

    def _pixels(self, index: int) -> tuple[np.ndarray, np.ndarray | None, Region, int]:
        """uint8 (h, w, 3), mask (h, w) or None, and the region and divisor that they are seen through; read only."""
        kept = self._cache.get(index) if self._cache is not None else None
        if kept is not None and self._sizes is not None:
            flat, height, width = kept
            area = height * width
            mask = None if self._masks is None else flat[3 * area : 4 * area].reshape(height, width)
            return flat[: 3 * area].reshape(height, width, 3), mask, *self._choose(index, self._sizes[index])
        pixels, size = decode(self.paths[index], lambda size: self._choose(index, size), self.intensity_range)
        region, divisor = self._choose(index, size)
        mask = None
        if self._masks is not None:
            mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
            for path in self._masks[index]:
                mask |= decode_mask(path, size, region, divisor, self.mask_above)
        if self._cache is not None:
            self._cache.put(index, [pixels] if mask is None else [pixels, mask], *pixels.shape[:2])
        return pixels, mask, region, divisor

    def _plan_cache(self, cap: int) -> PixelCache | None:
        # Decoded pixels hardly ever take less room than the file, unless they are decoded smaller.
        if cap <= 0 or (self.image_size is None and int(self._bytes.sum()) > cap) or int(self._bytes.sum()) > 16 * cap:
            return None
        planes = 3 if self._masks is None else 4
        sizes, capacities = [], []
        for index, path in enumerate(self.paths):
            size = image_size(path)
            (x0, y0, x1, y1), divisor = self._choose(index, size)
            sizes.append(size)
            capacities.append(planes * -(-(x1 - x0) // divisor) * -(-(y1 - y0) // divisor))
        if sum(capacities) > cap:
            return None
        self._sizes = sizes
        return PixelCache(capacities)


def divisor_for(size: tuple[int, int], image_size: int | None) -> int:
    """Tell by how much an image of this size is decoded smaller for a network's input; None takes it whole."""
    if image_size is None:
        return 1
    spare = min(size) / (_SPARE * image_size)
    return int(2 ** min(3, max(0, int(math.log2(max(spare, 1))))))


def _file_bytes(path: Path) -> int:
    count = 0
    with noted():
        count = check_regular_file(path, MEND, MISSING).st_size
        if count == 0:
            raise InputError(f"{path}: the image file is empty (0 bytes); restore or remove it")
    return count
