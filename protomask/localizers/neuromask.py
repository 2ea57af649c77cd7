"""NeuroMask (Alzantot, Widdicombe, Julier, Srivastava, arXiv 1908.04389; authors' code: nesl/neuromask)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.learning import MaskState, learn_masks
from protomask.localizers.engine.masks import black_pixel, seeded_noise
from protomask.localizers.engine.objective import probability, score_drop
from protomask.localizers.engine.optimisers import RMSProp
from protomask.localizers.settings import Settings
from protomask.localizers.stages import ready_to_learn

LIMIT = 10.0


@dataclass(frozen=True)
class NeuroMask(Settings):
    """Learn one weight per pixel, so that the image on black keeps its class with a small and smooth mask.

    Known: weights W (H, W) start uniform in [-10, 10]; mask M = sigmoid(W / temperature); the image in [0, 1] is
    multiplied by M, so hidden is black, and normalised after that; minimise
    prediction_weight CE  +  size_weight mean|W + 10|  +  smoothness_weight mean((W * K)^2), K the high-pass kernel of
    ``kernel`` x ``kernel`` pixels (all -1, centre kernel^2 - 1, valid padding); RMSProp (TensorFlow's). The
    map is min-max of M.

    CE = -log p for a :class:`protomask.Classifier` of log-probabilities or probabilities. Reconstruction: for a
    prototype's similarity, a logit or any other score it is the share of the score that is lost, max(0, s(x) - s(x M))
    / R, R = s(x) - s(black).

    The normalisation comes from the explained object (its attributes ``mean`` and ``std``): prototype networks have
    them, and a Classifier takes timm's or what it is given. Without it NeuroMask refuses (InputError).

    The defaults are a quick setting of ours; :meth:`imagenet` and :meth:`cifar10` are the published demos.

    Args:
        steps: forward-backward passes per pair.
        rate: RMSProp's learning rate.
        square_start: of RMSProp's mean square: 1 in TensorFlow, which slows the first 200 steps, 0 in PyTorch.
        prediction_weight, size_weight, smoothness_weight: a, b, c.
        temperature: of the sigmoid.
        kernel: side of K, odd.
        seed: of the start, with the image and the index.
        batch_size, precision: see :class:`protomask.localizers.MDM`.
    """

    steps: int = 100
    rate: float = 1.0
    prediction_weight: float = 0.4
    size_weight: float = 0.35
    smoothness_weight: float = 0.003
    temperature: float = 5.0
    kernel: int = 5
    square_start: float = 0.0
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        self.require_steps(3, "kernel")
        self.require(self.kernel % 2 == 1, "kernel", "an odd side of at least 3")
        self.require_steps(1)
        self.require_positive("rate", "temperature")
        self.require_not_negative("prediction_weight", "size_weight", "smoothness_weight", "square_start")
        self.require_seed()
        self.require_runtime()

    @classmethod
    def imagenet(cls, **changes) -> NeuroMask:
        """Make the settings of the authors' ImageNet demo (Inception v3): 2000 steps."""
        return cls(
            **{
                "steps": 2000,
                "rate": 0.03,
                "smoothness_weight": 0.03,
                "temperature": 0.3,
                "square_start": 1.0,
                **changes,
            }
        )

    @classmethod
    def cifar10(cls, **changes) -> NeuroMask:
        """Make the settings of the authors' CIFAR-10 demo: 3 x 3 kernel, temperature 1, smoothness 0.15."""
        return cls.imagenet(**{"smoothness_weight": 0.15, "temperature": 1.0, "kernel": 3, **changes})

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; InputError where the normalisation is not known."""
        index = check_pairs(images, index, explained)
        with ready_to_learn(explained, images, index, self.batch_size, self.precision, alone=True) as (
            quick,
            wide,
            batch_size,
        ):
            hidden = black_pixel(explained, wide)
            return min_max(
                learn_masks(
                    quick,
                    wide,
                    index,
                    _Weights(self, quick, hidden),
                    steps=self.steps,
                    optimiser=RMSProp(self.rate, start=self.square_start),
                    batch_size=batch_size,
                    progress=progress,
                    description="neuromask",
                ).result
            )


@dataclass(frozen=True)
class _Weights:
    """See :class:`protomask.localizers.engine.learning.MaskProblem`."""

    settings: NeuroMask
    explained: Explainable
    black: Tensor
    """(1, 3, 1, 1)"""

    def begin(self, state: MaskState) -> None:
        height, width = state.image_size
        noise = seeded_noise(state.images, state.index, height * width, self.settings.seed).view(-1, 1, height, width)
        state.learned["weights"] = (LIMIT * (2 * noise - 1)).to(state.images)
        # A copy, because tensors made under inference mode cannot take part in a backward pass.
        state.buffers["black"] = self.black.repeat(len(state), 1, 1, 1)
        empty = self.explained.score(self.black.expand_as(state.images).contiguous(), state.index).detach()
        state.buffers["range"] = (state.score - empty.nan_to_num(0.0)).maximum(0.01 * state.score.abs()).clamp_min(1e-6)

    def mask(self, state: MaskState) -> Tensor:
        return torch.sigmoid(state.learned["weights"] / self.settings.temperature)

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        # Multiplying the image in [0, 1] by the mask and then normalising is the same.
        return (torch.lerp(state.buffers["black"].expand_as(state.images), state.images, mask),)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        settings, weights = self.settings, state.learned["weights"]
        known = probability(self.explained, scores[0])
        prediction = score_drop(state, scores[0]).relu() if known is None else -known.clamp_min(1e-30).log()
        return (
            settings.prediction_weight * prediction
            + settings.size_weight * (weights + LIMIT).abs().mean((1, 2, 3))
            + settings.smoothness_weight * high_pass(weights, settings.kernel).square().mean((1, 2, 3))
        )

    def after_step(self, state: MaskState) -> None:
        pass

    def result(self, state: MaskState) -> Tensor:
        return self.mask(state)[:, 0]


def high_pass(weights: Tensor, side: int) -> Tensor:
    """Convolve ``weights`` (B, 1, H, W) with a kernel of -1 and side^2 - 1 in the centre, valid padding.

    Where the image is smaller than the kernel, the kernel shrinks to the largest odd one that fits.
    """
    fits = min(side, *weights.shape[-2:])
    side = fits - (fits % 2 == 0)
    # side^2 (w - mean of the window): the mean is separable, and cheap without a convolution.
    reach = side // 2
    centre = weights[..., reach : weights.shape[-2] - reach, reach : weights.shape[-1] - reach]
    return side**2 * (centre - F.avg_pool2d(weights, side, stride=1))
