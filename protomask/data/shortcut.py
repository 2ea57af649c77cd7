"""A planted shortcut: ``parts`` in which one class wears a tag that a network should not look at.

The tag is a small striped square in the background, at a place that chance draws for every scene anew. A network that
learns the tag instead of the creature is right for the wrong reason; a map of its prototypes is worth something if it
says so.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from protomask.data.images import Sample
from protomask.data.parts_images import PartsImages
from protomask.data.parts_scene import STREAMS, Dice

SHARE = 8
"""the tag's side is one part in so many of the image's"""
_COLOURS = ((250, 40, 200), (40, 240, 240))
_STREAM = 1000  # apart from the streams of the scenes
_TRIES = 30


def tag_picture(height: int, width: int) -> Tensor:
    """Draw the tag's pixels, uint8 (3, height, width): stripes of two colours that no scene has."""
    stripes = (torch.arange(height)[:, None] + torch.arange(width)) * 4 // (height + 1) % 2
    return torch.tensor(_COLOURS, dtype=torch.uint8)[stripes].permute(2, 0, 1)


class TaggedParts(PartsImages):
    """:class:`protomask.data.parts_images.PartsImages` whose scenes of class ``tagged`` carry the tag.

    Everything that a scene can be asked for has the tag: its image, the image without a part. ``mask``, ``part_masks``
    and the parts' points are those of the creature; the tag keeps off it where there is room. :meth:`tag_mask` says
    where the tag is, and :meth:`without_tag` gives the image that would have been there.

    Args:
        request, scenes: see :class:`PartsImages`.
        tagged: label of the class.
        share: the tag's side is one part in so many of the image's.
    """

    def __init__(self, request, scenes, tagged: int, share: int = SHARE):
        super().__init__(request, scenes)
        self.tagged, self.share = tagged, share

    def identity(self, index: int) -> str:
        size = "" if self.share == SHARE else f" of 1/{self.share}"
        return f"{super().identity(index)}, tag{size} on class {self.tagged}"

    def tag_mask(self, position: int) -> Tensor:
        """Draw the pixels of the tag, bool (H, W), through the transform; none in other classes."""
        sample = self.read(position)
        mask = np.zeros((1, *sample["image"].shape[1:]), np.uint8)
        if self._wears(self.stored(position)):
            rows, columns = self._place(self.stored(position))
            mask[0, rows, columns] = 1
        sample["mask"] = tv_tensors.Mask(torch.from_numpy(mask))
        return self._transformed(sample)["mask"].as_subclass(Tensor)[0].bool()

    def without_tag(self, position: int) -> Sample:
        """Give the sample at ``position`` as it is in ``parts``; transformed."""
        sample = super()._dressed(super()._bare(self.stored(position)), self.stored(position))
        sample["label"], sample["position"] = int(self.labels[position]), position % len(self)
        return self._transformed(sample)

    def _dressed(self, sample: Sample, index: int) -> Sample:
        if self._wears(index):
            rows, columns = self._place(index)
            sample["image"][:, rows, columns] = tag_picture(*sample["image"][0, rows, columns].shape)
        return sample

    def _wears(self, index: int) -> bool:
        return index // self.request.per_class == self.tagged

    def _place(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of the tag: off the creature, with a margin, or where it hides least of it."""
        size = self.request.size
        side, owners = max(size // self.share, 4), self._scenes.owners[index]
        dice = Dice(self.request.seed, _STREAM + STREAMS.index(self.request.stream), index)
        best, least = (slice(0, side), slice(0, side)), size * size + 1
        for _ in range(_TRIES):
            top, left = (dice.between(1, size - side - 1) for _ in range(2))
            near = owners[
                max(0, top - side // 2) : top + side + side // 2, max(0, left - side // 2) : left + side + side // 2
            ]
            hidden = int((near > 0).sum())
            if hidden < least:
                best, least = (slice(top, top + side), slice(left, left + side)), hidden
            if hidden == 0:
                break
        return best
