"""Grad-CAM (Selvaraju et al., ICCV 2017) and Grad-CAM++ (Chattopadhay et al., WACV 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.given import as_count
from protomask.localizers.base import check_pairs, min_max, require_finite
from protomask.localizers.layers import Layer, check_reaches_score, find_layer

Combine = Callable[[Tensor, Tensor], Tensor]


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
        require_pairs_together("GradCAM", self.batch_size)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a feature map inside the model."""
        return activation_maps(
            explained, images, index, weigh_by_mean, self.layer, self.batch_size, "Grad-CAM", progress
        )


@dataclass(frozen=True)
class GradCAMPlusPlus:
    """Weight feature maps by a weighted mean of the positive gradients, so that several places count each.

    relu(sum_k w_k A_k) with w_k = sum over positions of a relu(g), a = g^2 / (2 g^2 + sum over positions of A g^3),
    where g is ds/dA_k, and a is 0 where g is. The paper's closed form for the exponential of the score, whose factor
    exp(s) does not change the map. Published for logits.

    Args:
        layer, batch_size: see :class:`GradCAM`.

    Cost: one forward-backward pass per pair.
    """

    layer: str | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        require_pairs_together("GradCAMPlusPlus", self.batch_size)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a feature map inside the model."""

        def combine(features: Tensor, slope: Tensor) -> Tensor:
            slope, features = slope.double(), features.double()  # cubes of small gradients leave float32
            below = 2 * slope**2 + (features * slope**3).sum((2, 3), keepdim=True)
            shares = torch.where((slope != 0) & (below != 0), slope**2 / torch.where(below == 0, 1, below), 0)
            return ((shares * slope.relu()).sum((2, 3), keepdim=True) * features).sum(1).relu()

        return activation_maps(explained, images, index, combine, self.layer, self.batch_size, "Grad-CAM++", progress)


def weigh_by_mean(features: Tensor, slope: Tensor) -> Tensor:
    """Combine a map A (B, C, h, w) and its gradient as Grad-CAM does: (B, h, w)."""
    return (slope.mean((2, 3), keepdim=True) * features).sum(1).relu()


def class_maps(layer: Layer, logits: Tensor, classes: Sequence[int], images: Tensor) -> Tensor:
    """Compute the Grad-CAM maps of several classes of one image from a pass that was recorded: (N, H, W).

    Args:
        layer: in its :meth:`~protomask.localizers.layers.Layer.record`.
        logits: (1, C), with a gradient.
        classes: N of them.
        images: (1, 3, H, W), of that pass.

    Raises:
        InputError: the layer did not run, or does not reach the logits.
    """
    size, output = tuple(images.shape[-2:]), layer.output
    features = layer.as_map(output, size)
    if output is None or not (logits.requires_grad and features.requires_grad):
        raise InputError("the logits have no gradient; Grad-CAM needs one")
    maps = []
    for number in classes:
        (slope,) = torch.autograd.grad(logits[0, number], output, retain_graph=True, materialize_grads=True)
        maps.append(weigh_by_mean(features, layer.as_map(slope, size)).detach().float())
    return min_max(F.interpolate(torch.cat(maps)[:, None], size, mode="bilinear", align_corners=False)[:, 0])


def require_pairs_together(name: str, batch_size: int) -> None:
    """Raise InputError unless at least one pair is computed at a time."""
    as_count(batch_size, f"{name}: batch_size")


def activation_maps(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    combine: Combine,
    layer_name: str | None,
    batch_size: int,
    method: str,
    progress: bool,
) -> Tensor:
    """Combine the feature map A (B, C, h, w) and its gradient into maps (B, h, w), upsampled, least 0 and greatest 1.

    Args:
        explained, images, index: see :class:`protomask.localizers.Localizer`.
        combine: ``(A, ds/dA) -> (B, h, w)``.
        layer_name, batch_size: see :class:`GradCAM`.
        method: its name in errors and on the progress bar.
    """
    index = check_pairs(images, index, explained)
    if not len(images):
        raise InputError("there are no images to explain; give at least one")
    with torch.inference_mode(False), torch.enable_grad(), frozen(explained):
        images, index = images.detach().clone(), index.detach().clone().long()

        def find(reaching: bool) -> Layer:
            return find_layer(explained, images[:1], index[:1], layer_name, method, reaching=reaching)

        layer = find(reaching=False)
        if layer_name is not None:
            check_reaches_score(explained, layer, images[:1], index[:1])
        maps = _maps(explained, images, index, combine, layer, batch_size, method, progress)
        if maps is None:  # the last map is of a part beside the score's, a decoder for example
            layer = find(reaching=True)
            maps = _maps(explained, images, index, combine, layer, batch_size, method, progress)
    if maps is None:
        raise InputError(f"layer {layer.name!r} does not reach the score; name another")
    return min_max(torch.cat(maps))


def _maps(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    combine: Combine,
    layer: Layer,
    batch_size: int,
    method: str,
    progress: bool,
) -> list[Tensor] | None:
    """Compute the maps batch by batch, not yet between 0 and 1; None where the layer does not reach the score."""
    maps, size = [], tuple(images.shape[-2:])
    with layer.record(), tqdm(total=len(images), desc=method.lower(), unit="map", disable=not progress) as bar:
        for start in range(0, len(images), batch_size):
            part, chosen = images[start : start + batch_size], index[start : start + batch_size]
            layer.forget()
            score = explained.score(part.requires_grad_(), chosen)
            require_finite(score, explained, range(start, len(images)))
            output = layer.output
            features = layer.as_map(output, size)
            if output is None or not score.requires_grad:
                raise InputError(f"the score of {type(explained).__name__} has no gradient; {method} needs one")
            if not features.requires_grad:
                return None
            (slope,) = torch.autograd.grad(score.sum(), output, allow_unused=True)
            if slope is None:
                return None
            cam = combine(features, layer.as_map(slope, size)).detach().float()[:, None]
            maps.append(F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0])
            bar.update(len(part))
    return maps
