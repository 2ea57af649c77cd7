"""Grad-CAM (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, min_max, require_finite
from protomask.localizers.layers import check_reaches_score, find_layer


@dataclass(frozen=True)
class GradCAM:
    """Weight feature maps by the score's mean gradient: relu(sum_k a_k A_k), upsampled bilinearly.

    a_k is the mean of ds/dA_k over the positions of the feature map A.

    The same as captum's ``LayerGradCam``, which averages over the wrong axes where a network keeps its channels last,
    and knows no tokens. Published for logits: ``Classifier(model, score="logit")``.

    Args:
        layer: name of the module whose output is A, as in ``model.named_modules()``. None: the last feature map; of a
            prototype network, the map of its backbone. Transformers that end in tokens need a name
            (``"blocks.11.norm1"``): the last one at which all tokens still reach the score.
        batch_size: pairs computed together.

    Cost: one forward-backward pass per pair.
    """

    layer: str | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"GradCAM: batch_size is {self.batch_size}; give at least 1")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a feature map inside the model."""
        index = check_pairs(images, index, explained)
        if not len(images):
            raise InputError("there are no images to explain; give at least one")
        maps, size = [], tuple(images.shape[-2:])
        with torch.inference_mode(False), torch.enable_grad(), frozen(explained):
            images, index = images.detach().clone(), index.detach().clone().long()
            layer = find_layer(explained, images[:1], index[:1], self.layer, "Grad-CAM")
            if self.layer is not None:
                check_reaches_score(explained, layer, images[:1], index[:1])
            with layer.record(), tqdm(total=len(images), desc="grad-cam", unit="map", disable=not progress) as bar:
                for part, chosen in zip(images.split(self.batch_size), index.split(self.batch_size)):
                    score = require_finite(explained.score(part.requires_grad_(), chosen), explained)
                    features = layer.as_map(layer.output, size)
                    if not (score.requires_grad and features.requires_grad):
                        raise InputError(f"the score of {type(explained).__name__} has no gradient; Grad-CAM needs one")
                    (slope,) = torch.autograd.grad(score.sum(), layer.output, materialize_grads=True, allow_unused=True)
                    cam = (layer.as_map(slope, size).mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
                    maps.append(F.interpolate(cam.detach().float(), size, mode="bilinear", align_corners=False)[:, 0])
                    bar.update(len(part))
        return min_max(torch.cat(maps))
