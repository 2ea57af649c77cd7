"""Integrated gradients, SmoothGrad and occlusion, computed by captum (``pip install captum``).

Pairs come one after the other, each one's perturbed images in batches: memory stays bounded, and what is random is
drawn anew from the seed for each pair, so that a batch gives what a loop gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, fitting_batch_size, min_max, name_of_model, require_finite
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.engine.widening import widened
from protomask.localizers.settings import Settings
from protomask.precision import float32_by_default
from protomask.scores import require_scores

Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class IntegratedGradients(Settings):
    """Integrate gradients from a baseline r to the image x: (x - r) * mean of ds/dx on the way.

    Sundararajan, Taly, Yan, ICML 2017.

    The baseline r is zero after normalisation, the mean colour. Channels are merged, and the greatest values clipped,
    as in the authors' visualisation code (PAIR saliency): sum of absolute values, clipped at the 99th percentile.
    Published for softmax probabilities: ``Classifier(model, score="probability")``.

    Args:
        steps: points on the way (Gauss-Legendre), each a forward-backward pass.
        clip: percentile of a map's values above which they count alike; 100 clips nothing.
        batch_size: points computed together; None: as fits (:func:`protomask.localizers.base.fitting_batch_size`).
    """

    steps: int = 50
    clip: float = 99.0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _require_captum("integrated-gradients")
        self.require_steps(1, "steps", "batch_size")
        self.require_share("clip", 100, "a percentile, more than 0 and up to 100")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        from captum import attr

        def attribute(score: Score, image: Tensor, number: Tensor) -> Tensor:
            found = attr.IntegratedGradients(score).attribute(
                image.requires_grad_(),
                additional_forward_args=number,
                n_steps=self.steps,
                internal_batch_size=fitting_batch_size(self.batch_size, image),
            )
            return _magnitude(found, self.clip)

        return _each(explained, images, index, attribute, "integrated gradients", progress)


@dataclass(frozen=True)
class SmoothGrad(Settings):
    """Average gradients over noisy copies of the image: |mean of ds/dx|.

    Smilkov et al., 2017.

    Channels are merged as in :class:`IntegratedGradients`. Published for logits: ``Classifier(model, score="logit")``.

    Args:
        samples: noisy copies, each a forward-backward pass.
        noise: standard deviation of the noise as a share of the image's range, 0.1 to 0.2 in the paper.
        clip: see :class:`IntegratedGradients`.
        seed: of the noise; torch's own generators are left as they were.
        batch_size: copies computed together; None: as fits (:func:`protomask.localizers.base.fitting_batch_size`).
    """

    samples: int = 50
    noise: float = 0.15
    clip: float = 99.0
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _require_captum("smoothgrad")
        self.require_steps(1, "samples", "batch_size")
        self.require_not_negative("noise")
        self.require_share("clip", 100, "a percentile, more than 0 and up to 100")
        self.require_seed()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        from captum import attr

        def attribute(score: Score, image: Tensor, number: Tensor) -> Tensor:
            tunnel = attr.NoiseTunnel(attr.Saliency(score))
            with torch.random.fork_rng([image.device] if image.is_cuda else []):
                torch.manual_seed(self.seed)
                found = tunnel.attribute(
                    image.requires_grad_(),
                    nt_type="smoothgrad",
                    nt_samples=self.samples,
                    nt_samples_batch_size=fitting_batch_size(self.batch_size, image),
                    abs=False,
                    additional_forward_args=number,
                    stdevs=self.noise * float(image.detach().amax() - image.detach().amin()),
                )
            return _magnitude(found, self.clip)

        return _each(explained, images, index, attribute, "smoothgrad", progress)


@dataclass(frozen=True)
class Occlusion(Settings):
    """Slide a window that hides the image, and measure the drop of the score.

    Zeiler and Fergus, ECCV 2014.

    The window shows zero after normalisation, the mean colour; where windows overlap, their falls are averaged
    (captum). Rises of the score count as zero. Published for softmax probabilities: ``Classifier(model,
    score="probability")``.

    Args:
        window, stride: in pixels of an image whose shorter side has 224; they grow and shrink with the image, rounded
            up. At 224 x 224, 15 and 8 are 785 forward passes.
        batch_size: windows computed together; None: as fits (:func:`protomask.localizers.base.fitting_batch_size`).
    """

    window: int = 15
    stride: int = 8
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _require_captum("occlusion")
        self.require_steps(1, "window", "stride", "batch_size")
        if self.stride > self.window:
            raise InputError(
                f"Occlusion: stride {self.stride} leaves gaps between windows of {self.window}; give at most that"
            )

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        from captum import attr

        index = check_pairs(images, index, explained)
        shorter = min(images.shape[-2:])
        window, stride = (min(math.ceil(side * shorter / 224), shorter) for side in (self.window, self.stride))

        def attribute(score: Score, image: Tensor, number: Tensor) -> Tensor:
            with torch.no_grad():
                found = attr.Occlusion(score).attribute(
                    image,
                    sliding_window_shapes=(image.shape[1], window, window),
                    strides=(image.shape[1], stride, stride),
                    additional_forward_args=number,
                    perturbations_per_eval=fitting_batch_size(self.batch_size, image),
                )
            return found[:, 0].relu()

        return _each(explained, images, index, attribute, "occlusion", progress)


def _each(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    attribute: Callable[[Score, Tensor, Tensor], Tensor],
    name: str,
    progress: bool,
) -> Tensor:
    """Call ``attribute(score, image (1, 3, H, W), index (1,)) -> (1, H, W)`` for each pair; min-max of the maps."""
    index = check_pairs(images, index, explained)
    # What captum makes of half images is float32, which a half network refuses.
    explained, images = widened(explained, images)
    explained = accelerate(explained, images, index)

    def score(place: int, perturbed: Tensor, numbers: Tensor) -> Tensor:
        scores = explained.score(perturbed.contiguous(memory_format=torch.channels_last), numbers)
        require_scores(scores, numbers, f"{name_of_model(explained)}.score")
        if perturbed.requires_grad and not scores.requires_grad:
            raise _without_gradient(explained, name)
        return require_finite(scores, explained, [place] * len(scores))

    with torch.inference_mode(False), torch.enable_grad(), frozen(explained), float32_by_default(images.dtype):
        # Clones, because tensors made under inference mode cannot take part in a backward pass.
        try:
            maps = [
                attribute(
                    partial(score, place),
                    images[place : place + 1].detach().clone(),
                    index[place : place + 1].detach().clone().long(),
                ).detach()
                for place in tqdm(range(len(images)), desc=name, unit="map", disable=not progress)
            ]
        except RuntimeError as error:
            if "not have been used in the graph" not in str(error):
                raise
            raise _without_gradient(explained, name) from error
    if not maps:
        raise InputError("there are no images to explain; give at least one")
    return min_max(torch.cat(maps))


def _without_gradient(explained: Explainable, name: str) -> InputError:
    return InputError(
        f"the score of {name_of_model(explained)} has no gradient with respect to the images; {name} needs one"
    )


def _magnitude(attribution: Tensor, clip: float) -> Tensor:
    """Reduce (1, 3, H, W) to (1, H, W): absolute values summed over channels, clipped at a percentile."""
    total = attribution.detach().abs().sum(1)
    return total.clamp(max=torch.quantile(total.flatten(), clip / 100))


def _require_captum(name: str) -> None:
    if find_spec("captum") is None:
        raise InputError(
            f"localizer {name!r} needs captum, which is not installed; install it with: pip install captum"
        )
