"""What the metrics of an evaluation measure: a batch of pairs with the maps of one localizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from protomask.capabilities import gives_probabilities
from protomask.evaluation.batch import Batch
from protomask.evaluation.maps import Maps
from protomask.evaluation.variants import IMAGE, NOISY, Variant, nearby, sibling
from protomask.metrics import causal, faithfulness, localization, part_points, prototype_sets, prototypes, steadiness
from protomask.metrics.attack import misalignment, outside_top
from protomask.metrics.imputation import road
from protomask.metrics.infidelity import infidelity


class Case:
    """Compute what the metrics measure, each shared result once and not before it is asked for."""

    def __init__(self, batch: Batch, maps: Maps) -> None:
        self.batch, self.localizer, self._maps = batch, maps.name, maps

    def maps(self, variant: Variant) -> Tensor:
        """Give the maps (B, H, W); see :class:`protomask.evaluation.maps.Maps`."""
        return self._maps(self.batch, variant)

    @cached_property
    def saliency(self) -> Tensor:
        return self.maps(IMAGE)

    @cached_property
    def insertion(self) -> faithfulness.Curve:
        return self._curve(faithfulness.insertion, start=self.batch.blurred)

    @cached_property
    def deletion(self) -> faithfulness.Curve:
        return self._curve(faithfulness.deletion)

    @property
    def region_deletion(self) -> Tensor:
        return self._curve(faithfulness.region_deletion).auc

    @property
    def gain(self) -> Tensor:
        """Compute the gain: Opti-CAM's for probabilities, its counterpart for similarities."""
        kind = faithfulness.average_gain if gives_probabilities(self.batch.explained) else faithfulness.relative_gain
        return kind(self.batch.whole, self.kept)

    @property
    def judge_insertion(self) -> Tensor:
        return self._judged(faithfulness.insertion, start=self.batch.blurred).auc

    @property
    def judge_deletion(self) -> Tensor:
        return self._judged(faithfulness.deletion).auc

    @property
    def judge_region_deletion(self) -> Tensor:
        return self._judged(faithfulness.region_deletion).auc

    @property
    def judge_kept(self) -> Tensor:
        return self._judged(faithfulness.kept_by_first)

    @property
    def kept_first(self) -> Tensor:
        batch = self.batch
        return faithfulness.kept_by_first(
            batch.score, batch.images, batch.index, self.saliency, batch_size=batch.batch_size
        )

    @property
    def relevance_ordering(self) -> Tensor:
        return self._curve(prototypes.relevance_ordering).auc

    @property
    def road(self) -> Tensor:
        batch = self.batch
        return self._relative(road(batch.score, batch.images, batch.index, self.saliency, batch_size=batch.batch_size))

    @property
    def infidelity(self) -> Tensor:
        batch = self.batch
        return infidelity(batch.score, batch.images, batch.index, self.saliency, batch_size=batch.batch_size)

    @property
    def comprehensiveness(self) -> Tensor:
        maps, there = self.siblings
        return prototype_sets.comprehensiveness(maps, there, self.batch.mask)

    @cached_property
    def siblings(self) -> tuple[Tensor, Tensor]:
        """Make the maps (B, K, H, W) of all prototypes of each pair's class, and say which there are (B, K)."""
        numbers, there = self.batch.siblings
        return torch.stack([self.maps(sibling(each)) for each in range(numbers.shape[1])], 1), there

    @cached_property
    def kept(self) -> Tensor:
        batch = self.batch
        kept = faithfulness.masked_scores(
            batch.score, batch.images, batch.index, self.saliency, batch_size=batch.batch_size
        )
        return batch.require_finite(kept, f"the score kept by localizer {self.localizer!r}")

    @property
    def drop(self) -> Tensor:
        return faithfulness.average_drop(self.batch.whole, self.kept)

    @property
    def fidelity(self) -> Tensor:
        batch = self.batch
        explained: Any = batch.explained  # with similarity maps: the catalogue has asked
        return prototypes.fidelity(
            explained.similarity_maps, batch.images, batch.index, self.saliency, batch_size=batch.batch_size
        ).auc

    @property
    def misalignment(self) -> Tensor:
        batch = self.batch
        return misalignment(
            batch.score, batch.images, batch.index, outside_top(self.saliency), batch_size=batch.batch_size
        )

    @property
    def max_sensitivity(self) -> Tensor:
        others = [self.maps(nearby(sample)) for sample in range(steadiness.SAMPLES)]
        return steadiness.max_sensitivity(self.saliency, others)

    def over_parts(self, agreement: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Compute how the parts' true importance agrees with the saliency on them."""
        return agreement(self.batch.importance, self._part_mass, self.batch.visible)

    @property
    def causal_overlap(self) -> Tensor:
        return causal.causal_overlap(
            self.batch.importance, self._part_mass, self.saliency.sum((1, 2)), self.batch.visible
        )

    @property
    def causal_insertion(self) -> Tensor:
        batch = self.batch
        return self._relative(
            causal.causal_insertion(batch.score_with_parts, self._part_mass, batch.visible, batch.whole)
        )

    @cached_property
    def _part_mass(self) -> Tensor:
        return causal.part_mass(self.saliency, self.batch.parts)

    def pointing(self, region: Tensor) -> Tensor:
        """Play the pointing game with its 15 pixels at 224; the tolerance shrinks and grows with the image."""
        tolerance = localization.TOLERANCE * min(self.saliency.shape[1:]) / 224
        return localization.pointing_game(self.saliency, region, tolerance=tolerance)

    def at_parts(self) -> Tensor:
        """Find (B, 2, K) for the consistency: which parts are at the maximum, which are visible."""
        return torch.stack([self._at(self.saliency), self.batch.points_visible], 1).float()

    def at_parts_twice(self) -> Tensor:
        """Find (B, 2, K) for the stability: which parts are at the maximum, without and with noise."""
        return torch.stack([self._at(self.saliency), self._at(self.maps(NOISY))], 1).float()

    def in_patches(self) -> Tensor:
        """Find (B, 3, K) for the purity: parts in the patch, visible ones (sides merged), and the similarity."""
        batch, names = self.batch, self.batch.data.part_names
        inside = part_points.parts_in_patch(self.saliency, batch.points, batch.points_visible)
        planes = [part_points.merge_sides(each, names).float() for each in (inside, batch.points_visible)]
        return torch.stack([*planes, batch.whole[:, None].float().expand_as(planes[0])], 1)

    def _at(self, saliency: Tensor) -> Tensor:
        return part_points.parts_at_maximum(saliency, self.batch.points, self.batch.points_visible)

    def _curve(self, change: Callable[..., faithfulness.Curve], **options: object) -> faithfulness.Curve:
        batch = self.batch
        curve = change(batch.score, batch.images, batch.index, self.saliency, batch_size=batch.batch_size, **options)
        batch.require_finite(curve.scores, f"the {change.__name__} curve by localizer {self.localizer!r}")
        return faithfulness.Curve(*map(self._relative, curve))

    def _relative(self, values: Tensor) -> Tensor:
        """Give values (B, ...) as shares of the whole image's score; probabilities have a scale of their own."""
        return (
            values
            if gives_probabilities(self.batch.explained)
            else faithfulness.relative_to_whole(values, self.batch.whole)
        )

    def _judged(self, measure: Callable, **options: object):
        batch = self.batch
        explained: Any = batch.explained  # with a judge: the catalogue has asked
        return measure(
            explained.judge_score,
            batch.images,
            batch.index,
            self.saliency,
            batch_size=batch.batch_size,
            **options,
        )
