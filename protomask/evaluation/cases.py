"""What the metrics of an evaluation measure: a batch of pairs, and the maps of one localizer on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.metrics import causal, faithfulness, localization

DECIDING_SHARE = 0.95
"""A truth that covers more of the image than this decides nothing (images cropped to their boxes): as if absent."""


def deciding(region: Tensor) -> Tensor:
    """``region`` (B, H, W) without those that cover so much of the image that they decide nothing."""
    return region & (region.float().mean((1, 2), keepdim=True) <= DECIDING_SHARE)


class Batch:
    """Some pairs, and what all localizers share about them; each is computed when first asked for.

    Attributes:
        images: (B, 3, H, W) on the device. index: (B,) prototypes. positions: list of B ints.
    """

    def __init__(self, explained: Explainable, data: AnnotatedImages, positions: Sequence[int], index: Tensor,
                 device: torch.device | str, batch_size: int) -> None:
        samples = [data[position] for position in positions]
        if not samples[0]["image"].is_floating_point():
            raise InputError("evaluate: the images are not normalised; give the data the evaluation transform first")
        samples = collate(samples)
        self.explained, self.data, self.positions, self.batch_size = explained, data, list(positions), batch_size
        self.images, self.index = samples["images"].to(device), index.to(device)
        self._boxes, self._mask = samples["boxes"], samples.get("mask")
        if "box_labels" in samples:  # boxes of single findings: those of the prototype's own
            subject = getattr(explained, "prototype_classes", torch.arange(len(data.classes))).cpu()[index.cpu()]
            self._boxes = [boxes[labels == own] for boxes, labels, own in zip(self._boxes, samples["box_labels"], subject)]

    def require_finite(self, values: Tensor, what: str) -> Tensor:
        """``values`` (B, ...) themselves; InputError that names the first image where one is not finite."""
        bad = ~values.isfinite().flatten(1).all(1) if values.ndim > 1 else ~values.isfinite()
        if bad.any():
            first = int(bad.nonzero()[0])
            name, prototype = self.data.names[self.positions[first]], int(self.index[first])
            raise InputError(f"{what} of image {name!r}, prototype {prototype}, is not finite; "
                             "the network or the localizer is broken there")
        return values

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """The explained score; channels last, because convolutions on a CPU are up to twice as fast on such images."""
        return self.explained.score(images.contiguous(memory_format=torch.channels_last), index)

    @cached_property
    def whole(self) -> Tensor:
        """(B,) scores of the unchanged images"""
        with torch.no_grad():
            scores = self.score(self.images, self.index)
        return self.require_finite(scores.to(torch.promote_types(scores.dtype, torch.float32)), "the score")

    @cached_property
    def blurred(self) -> Tensor:
        return faithfulness.rise_blur(self.images)

    @cached_property
    def boxes(self) -> Tensor:
        """(B, H, W) bool, the union of the boxes"""
        return deciding(localization.box_regions(self._boxes, *self.images.shape[2:]).to(self.images.device))

    @cached_property
    def mask(self) -> Tensor:
        """(B, H, W) bool, the object"""
        return deciding((self._mask[:, 0] > 0).to(self.images.device))

    @cached_property
    def parts(self) -> Tensor:
        """(B, K, H, W) bool, the visible pixels of each part"""
        masks = torch.stack([self.data.part_masks(position) for position in self.positions])
        return masks.bool().to(self.images.device)

    @cached_property
    def visible(self) -> Tensor:
        """(B, K) bool"""
        return self.parts.flatten(2).any(2)

    @cached_property
    def importance(self) -> Tensor:
        """(B, K) true importance of each visible part, from images rendered without it"""
        without = self.images.new_zeros(*self.visible.shape, *self.images.shape[1:])
        for image, part in self.visible.nonzero().tolist():
            without[image, part] = self.data.without_part(self.positions[image], part)["image"].as_subclass(Tensor)
        importance = causal.part_importance(self.score, self.whole, without, self.index, self.visible,
                                            batch_size=self.batch_size)
        self.require_finite(importance.masked_fill(~self.visible, 0), "the score without a part")
        return importance


class Case:
    """A batch with the maps of one localizer: what the entries of ``METRICS`` measure. Each result is computed once."""

    def __init__(self, batch: Batch, localizer: str, saliency: Tensor) -> None:
        self.batch, self.localizer, self.saliency = batch, localizer, saliency
        expected = (len(batch.images), *batch.images.shape[2:])
        if saliency.shape != expected:
            raise InputError(f"localizer {localizer!r} gives maps of shape {tuple(saliency.shape)}, not {expected}")
        batch.require_finite(saliency, f"the map by localizer {localizer!r}")
        if (saliency < 0).any():
            raise InputError(f"localizer {localizer!r} gives negative saliency; maps must lie in [0, 1]")

    @cached_property
    def insertion(self) -> faithfulness.Curve:
        return self._curve(faithfulness.insertion, start=self.batch.blurred)

    @cached_property
    def deletion(self) -> faithfulness.Curve:
        return self._curve(faithfulness.deletion)

    @cached_property
    def kept(self) -> Tensor:
        batch = self.batch
        kept = faithfulness.kept_scores(batch.score, batch.images, batch.index, self.saliency,
                                        batch_size=batch.batch_size)
        return batch.require_finite(kept, f"the score kept by localizer {self.localizer!r}")

    def over_parts(self, agreement: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Agreement of the parts' true importance with the saliency on them."""
        batch = self.batch
        return agreement(batch.importance, causal.part_mass(self.saliency, batch.parts), batch.visible)

    def pointing(self, region: Tensor) -> Tensor:
        """The pointing game with its 15 pixels at 224; the tolerance shrinks and grows with the image."""
        tolerance = localization.TOLERANCE * min(self.saliency.shape[1:]) / 224
        return localization.pointing_game(self.saliency, region, tolerance=tolerance)

    def _curve(self, change: Callable[..., faithfulness.Curve], **options: object) -> faithfulness.Curve:
        batch = self.batch
        curve = change(batch.score, batch.images, batch.index, self.saliency,
                       batch_size=batch.batch_size, **options)
        batch.require_finite(curve.scores, f"the {change.__name__} curve by localizer {self.localizer!r}")
        return faithfulness.Curve(*(faithfulness.relative_to_whole(each, batch.whole) for each in curve))
