"""Score-CAM (Wang et al., CVPR workshops 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.given import as_count
from protomask.localizers.base import check_pairs, fitting_batch_size, min_max, require_finite
from protomask.localizers.layers import check_reaches_score, find_layer


@dataclass(frozen=True)
class ScoreCAM:
    """Weight feature maps by the scores of the images that they mask: relu(sum_k a_k A_k).

    a = softmax over channels k of s(x * min-max(upsampled A_k)).

    The paper's algorithm 1; what a mask hides is zero after normalisation. It subtracts the score s(0) of an empty
    image from all channels' alike, which the softmax takes away again, so that it is not computed here. Published for
    logits: ``Classifier(model, score="logit")``. A channel without any contrast has no weight.

    Args:
        layer: see :class:`protomask.localizers.GradCAM`.
        batch_size: masked images computed together; None: as fits
            (:func:`protomask.localizers.base.fitting_batch_size`).

    Cost: one forward pass per channel of the feature map (1280 for a MobileNetV2, 2048 for a ResNet-50), and one.
    """

    layer: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            as_count(self.batch_size, "ScoreCAM: batch_size")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a feature map inside the model."""
        index = check_pairs(images, index, explained)
        if not len(images):
            raise InputError("there are no images to explain; give at least one")
        index, maps = index.long(), []
        with torch.no_grad(), frozen(explained):
            layer = find_layer(explained, images[:1], index[:1], self.layer, "Score-CAM")
            if self.layer is not None:
                check_reaches_score(explained, layer, images[:1], index[:1])
            for place in tqdm(range(len(images)), desc="score-cam", unit="map", disable=not progress):
                image, number = images[place : place + 1], index[place : place + 1]
                with layer.record():
                    require_finite(explained.score(image, number), explained, [place])
                    features = layer.as_map(layer.output, tuple(image.shape[-2:])).float()
                maps.append(self._combine(explained, image, number, features[0], place))
        return min_max(torch.stack(maps))

    def _combine(self, explained: Explainable, image: Tensor, number: Tensor, features: Tensor, place: int) -> Tensor:
        """(H, W) from the features (C, h, w) of one image, the call's number ``place``."""
        size = tuple(image.shape[-2:])
        features = features[features.amax((1, 2)) > features.amin((1, 2))]
        if not len(features):
            return image.new_zeros(size)
        scores = []
        for part in features.split(fitting_batch_size(self.batch_size, image)):
            masks = min_max(F.interpolate(part[None], size, mode="bilinear", align_corners=False)[0])
            masked = (image * masks[:, None].to(image)).contiguous(memory_format=torch.channels_last)
            found = explained.score(masked, number.expand(len(part)))
            scores.append(require_finite(found, explained, [place] * len(part)))
        weights = torch.cat(scores).float().softmax(0)
        cam = torch.einsum("c,chw->hw", weights, features).relu()
        return F.interpolate(cam[None, None], size, mode="bilinear", align_corners=False)[0, 0]
