"""Some pairs of an evaluation, with the truth about their images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from protomask.capabilities import class_of_index, classes_of, score_kind
from protomask.data import AnnotatedImages, collate
from protomask.data.geometry import boxes_of_class
from protomask.errors import InputError
from protomask.evaluation.store import image_names, truth_names
from protomask.explainable import Explainable
from protomask.labels import positives
from protomask.localizers.engine.speed.folding import fold_batch_norms
from protomask.metrics import causal, faithfulness, localization, prototype_sets, sanity
from protomask.prototype_network import Prediction, PrototypeNetwork
from protomask.scores import require_scores

DECIDING_SHARE = 0.95
"""A truth that covers more of the image than this decides nothing (images cropped to their boxes): as if absent."""


def drop_full_regions(region: Tensor) -> Tensor:
    """Drop from ``region`` (B, H, W) those that cover so much of the image that they decide nothing."""
    return region & (region.float().mean((1, 2), keepdim=True) <= DECIDING_SHARE)


class Subject:
    """Hold what is explained, and its copy with shuffled parameters, made when first asked for."""

    def __init__(self, explained: Explainable) -> None:
        self.explained = explained
        self._folded: Explainable | None = None

    def folded(self, images: Tensor, index: Tensor) -> Explainable:
        """Give what makes the same scores in less time, where there is something; tried on these pairs at first."""
        if self._folded is None:
            self._folded = fold_batch_norms(self.explained, images, index)
        return self._folded

    @cached_property
    def randomised(self) -> Any:
        other: Any = self.explained  # a module: the metrics that ask for it need parameters
        return sanity.randomise_parameters(other).eval().requires_grad_(False)


class Batch:
    """Hold some pairs of an evaluation; each truth is computed when first asked for.

    Attributes:
        images: (B, 3, H, W) on the device. index: (B,) prototypes. positions: list of B ints.
        names: B names of the pairs, by the images' content. truth_names: by that of boxes, mask and points, too.
    """

    def __init__(
        self,
        subject: Subject,
        data: AnnotatedImages,
        positions: Sequence[int],
        index: Tensor,
        device: torch.device | str,
        batch_size: int,
    ) -> None:
        images = [data[position] for position in positions]
        if not images[0]["image"].is_floating_point():
            raise InputError("evaluate: the images are not normalised; give the data the evaluation transform first")
        samples = collate(images)
        self.subject, self.explained, self.batch_size = subject, subject.explained, batch_size
        # Asked for what it can do by the catalogue before any metric is measured.
        self.data: Any = data
        self.positions = list(positions)
        self.names = image_names(samples["images"], index)
        self.images, self.index = samples["images"].to(device), index.to(device)
        self._boxes: Any = samples["boxes"]
        self._mask: Any = samples.get("mask")
        if "box_labels" in samples:  # boxes of single findings: those of the prototype's own
            own = classes_of(self.explained, len(data.classes), index)
            self._boxes = [boxes_of_class(*each) for each in zip(self._boxes, samples["box_labels"], own)]
        self._points: Any = samples.get("points")
        self._visible: Any = samples.get("visible")
        self.labels = samples["labels"]
        self.truth_names = truth_names(self.names, self._boxes, self._mask, self._points, self._visible)

    def with_network(self, explained: Explainable) -> Batch:
        """Take the same pairs with another network."""
        other = copy.copy(self)
        for shared in ("_scoring", "whole", "importance", "_score_of_parts", "siblings", "prediction"):
            vars(other).pop(shared, None)
        other.explained = explained
        return other

    def with_index(self, index: Tensor) -> Batch:
        """Take the same images with another class or prototype each, (B,)."""
        other = self.with_network(self.explained)
        other.index = index.to(self.index)
        return other

    @property
    def seeds(self) -> list[int]:
        """B numbers below 2**63, drawn by the images"""
        return [int(name.partition("-")[0], 16) >> 1 for name in self.names]

    @property
    def another_class(self) -> Tensor:
        """(B,) a prototype of another class for each pair, or another class, drawn by the image"""
        owners = class_of_index(self.explained, len(self.data.classes))
        chosen = []
        for name, own in zip(self.names, classes_of(self.explained, len(self.data.classes), self.index).tolist()):
            others = (owners != own).nonzero().flatten()
            chosen.append(int(others[int(name.partition("-")[0], 16) % len(others)]))
        return torch.tensor(chosen)

    @cached_property
    def siblings(self) -> tuple[Tensor, Tensor]:
        """Numbers (B, K) of the prototypes of each pair's class, and which of the K there are; the rest are its own."""
        owners = class_of_index(self.explained, len(self.data.classes))
        found = [(owners == owners[index]).nonzero().flatten() for index in self.index.tolist()]
        most = int(owners.bincount().max())
        numbers = self.index.cpu()[:, None].repeat(1, most)
        there = torch.zeros(len(found), most, dtype=torch.bool)
        for row, each in enumerate(found):
            numbers[row, : len(each)], there[row, : len(each)] = each, True
        return numbers, there.to(self.images.device)

    @cached_property
    def prediction(self) -> Prediction:
        """All prototypes at once; prototype networks alone."""
        with torch.no_grad():
            return self._network(self.images.contiguous(memory_format=torch.channels_last))

    @property
    def _network(self) -> PrototypeNetwork:
        assert isinstance(self.explained, PrototypeNetwork)
        return self.explained

    @property
    def explanation_size(self) -> Tensor:
        """(B,) prototypes with a part in the decision"""
        found = self.prediction
        return prototype_sets.explanation_size(found.similarities, self._network.last_layer.weight, found.logits)

    @property
    def similarities_and_classes(self) -> Tensor:
        """(B, 2, P) similarity of each prototype, and whether the image is of its class"""
        own = positives(self.labels, len(self.data.classes))[:, self._network.prototype_classes.cpu()]
        return torch.stack([self.prediction.similarities.float().cpu(), own.float()], 1)

    def require_finite(self, values: Tensor, what: str) -> Tensor:
        """Return ``values`` (B, ...); InputError that names the first image where one is not finite."""
        bad = ~values.isfinite().flatten(1).all(1) if values.ndim > 1 else ~values.isfinite()
        if bad.any():
            first = int(bad.nonzero()[0])
            name, prototype = self.data.names[self.positions[first]], int(self.index[first])
            raise InputError(
                f"{what} of image {name!r}, prototype {prototype}, is not finite; "
                "the network or the localizer is broken there"
            )
        return values

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Score images; channels last, because convolutions on a CPU are up to twice as fast on such images.

        Log-probabilities are measured as the probabilities that the metrics were published for.
        """
        images = images.to(self.images.dtype)  # times a map in float32 they are of another type than the network
        scores = self._scoring.score(images.contiguous(memory_format=torch.channels_last), index)
        require_scores(scores, index, f"{type(self.explained).__name__}.score")
        return scores.exp() if score_kind(self.explained) == "log-probability" else scores

    @cached_property
    def _scoring(self) -> Explainable:
        if self.explained is not self.subject.explained:
            return self.explained
        return self.subject.folded(self.images, self.index)

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
        return drop_full_regions(localization.box_regions(self._boxes, *self.images.shape[2:]).to(self.images.device))

    @cached_property
    def truth_boxes(self) -> list[Tensor]:
        """B tensors (K, 4); none where the union decides nothing"""
        return [each if region.any() else each[:0] for each, region in zip(self._boxes, self.boxes)]

    @cached_property
    def mask(self) -> Tensor:
        """(B, H, W) bool, the object"""
        return drop_full_regions((self._mask[:, 0] > 0).to(self.images.device))

    @cached_property
    def points(self) -> Tensor:
        """(B, K, 2) x, y of the parts' points"""
        return self._points.to(self.images.device)

    @cached_property
    def points_visible(self) -> Tensor:
        """(B, K) bool"""
        return self._visible.to(self.images.device)

    @cached_property
    def parts(self) -> Tensor:
        """(B, K, H, W) bool, the visible pixels of each part"""
        masks = torch.stack([self.data.part_masks(position) for position in self.positions])
        return masks.bool().to(self.images.device)

    @cached_property
    def visible(self) -> Tensor:
        """(B, K) bool: of which at least a pixel is seen"""
        return self.parts.flatten(2).any(2)

    @cached_property
    def importance(self) -> Tensor:
        """(B, K) true importance of each visible part, from images rendered without it"""
        without = self.images.new_zeros(*self.visible.shape, *self.images.shape[1:])
        for image, part in self.visible.nonzero().tolist():
            without[image, part] = self.data.without_part(self.positions[image], part)["image"].as_subclass(Tensor)
        importance = causal.part_importance(
            self.score, self.whole, without, self.index, self.visible, batch_size=self.batch_size
        )
        self.require_finite(importance.masked_fill(~self.visible, 0), "the score without a part")
        return importance

    def score_with_parts(self, image: int, parts: frozenset[int]) -> float:
        """Score an image of the batch with these of its visible parts drawn, and no other visible one."""
        known = self._score_of_parts
        if (image, parts) not in known:
            left_out = [part for part in self.visible[image].nonzero().flatten().tolist() if part not in parts]
            sample = self.data.without_parts(self.positions[image], left_out)
            with torch.no_grad():
                pixels = sample["image"].as_subclass(Tensor)[None].to(self.images)
                known[image, parts] = float(self.score(pixels, self.index[image : image + 1]))
        return known[image, parts]

    @cached_property
    def _score_of_parts(self) -> dict[tuple[int, frozenset[int]], float]:
        return {}
