"""HDM, Hierarchical Dynamic Masks (Peng, Yang, Liu, He, arXiv 2301.04970)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable, frozen
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.learning import Pairs, learn_masks
from protomask.localizers.masks import BACKGROUNDS, background, grid_shape, upsample
from protomask.localizers.objective import begin_objective, fall, remainder, shown
from protomask.localizers.optimisers import Adam
from protomask.localizers.speed import PRECISIONS, faster


@dataclass(frozen=True)
class HDM:
    """A cascade of dynamic-masks modules, each on what the ones before it have left of the image, fused by learned weights.

    Known: a module learns small *benchmark* vectors that find the critical regions roughly, and they guide large
    *auxiliary* vectors, so that the superimposed mask is fine-grained; each next module works on the image from which
    the regions found so far are masked out; all are fused in a learning-based way. Reconstruction, with the background r
    and R_k = s(x_k) - s(r):

    - a mask M costs  L(M) = max(0, s(x_k) - s(x_k M + r (1 - M))) / R_k  +  max(0, s(x_k (1 - M) + r M) - s(r)) / R_k
      +  size_weight mean(M);
    - benchmark: the mean B of the upsampled vectors of ``benchmark_sizes``, all-ones at the start, minimises L;
    - auxiliary: the vectors of ``auxiliary_sizes`` start as B; S_k = the mean of all upsampled vectors minimises L, the
      benchmark ones being tuned with the others;
    - cascade: x_1 = x,  x_{k+1} = x_k (1 - S_k) + r S_k; a pair ends when (s(x_k) - s(r)) / R_1 <= ``rest``;
    - fusion: w_k >= 0 minimises the first and the last term of L for M = min(1, sum_k w_k S_k) on x;
      saliency = min-max of sum_k w_k S_k.

    >>> from protomask import HDM, Classifier                                   # doctest: +SKIP
    >>> saliency = HDM()(Classifier(model), images, classes)                    # doctest: +SKIP

    Args:
        benchmark_sizes, auxiliary_sizes: cells along the image's shorter side.
        modules: length of the cascade, at most.
        rest: share of the score's range below which nothing is left to find.
        benchmark_steps, auxiliary_steps, fusion_steps: Adam's steps; of fusion, 0 gives every module the weight 1.
        rate: Adam's learning rate; that of fusion is the same.
        size_weight: lambda, the price of showing everything.
        background: ``"zero"`` (the mean colour), ``"blur"`` or ``"noise"``.
        seed: of the noise.
        batch_size, precision: see :class:`protomask.localizers.MDM`.

    Cost in forward-backward passes per pair: per module that it enters 2 (benchmark_steps + auxiliary_steps), and
    fusion_steps where there is more than one.
    """

    benchmark_sizes: tuple[int, ...] = (7, 14)
    auxiliary_sizes: tuple[int, ...] = (28, 56)
    modules: int = 3
    rest: float = 0.1
    benchmark_steps: int = 15
    auxiliary_steps: int = 10
    fusion_steps: int = 10
    rate: float = 0.1
    size_weight: float = 1.0
    background: str = "zero"
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("benchmark_sizes", "auxiliary_sizes"):
            if min(getattr(self, name), default=0) < 1:
                raise InputError(f"HDM: {name} are {getattr(self, name)}; give at least one, each at least 1")
        for name, least in (("modules", 1), ("benchmark_steps", 1), ("auxiliary_steps", 1), ("fusion_steps", 0)):
            if getattr(self, name) < least:
                raise InputError(f"HDM: {name}={getattr(self, name)}; give at least {least}")
        for name, value, known in (("background", self.background, BACKGROUNDS), ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise InputError(f"HDM: {name} {value!r} is unknown; choose one of {', '.join(known)}")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        check_pairs(images, index)
        explained = faster(explained, images, index, self.precision)
        found = images.new_zeros(len(images), self.modules, *images.shape[-2:])
        with tqdm(total=self.modules + 1, desc="hdm", unit="module", disable=not progress) as bar:
            left = images.detach()
            going = torch.ones_like(index, dtype=torch.bool)
            for number in range(self.modules):
                found[going, number] = self._superimposed(explained, left[going], index[going])
                left, going = self._without(explained, images, index, left, found[:, number], going)
                bar.update()
                if not going.any():
                    break
            weights = self._weights(explained, images, index, found[:, :number + 1])
            bar.update(self.modules - number)
        return min_max((weights[..., None, None] * found[:, :number + 1]).sum(1))

    def _superimposed(self, explained: Explainable, images: Tensor, index: Tensor) -> Tensor:
        """S_k, (B, H, W), of one module."""
        options = {"optimiser": Adam(self.rate), "batch_size": self.batch_size}
        benchmark = learn_masks(explained, images, index, _Vectors(self, explained, self.benchmark_sizes),
                                steps=self.benchmark_steps, **options).result
        every = _Vectors(self, explained, self.benchmark_sizes + self.auxiliary_sizes, start=benchmark)
        return learn_masks(explained, images, index, every, steps=self.auxiliary_steps, **options).result

    def _without(self, explained: Explainable, images: Tensor, index: Tensor, left: Tensor, mask: Tensor,
                 going: Tensor) -> tuple[Tensor, Tensor]:
        """x_{k+1}, and which pairs have something left to find there."""
        parts = []
        with torch.no_grad(), frozen(explained):
            for rows in torch.arange(len(images), device=images.device).split(self.batch_size or 16):
                hidden = background(images[rows], index[rows], self.background, seed=self.seed).expand_as(images[rows])
                rest = torch.lerp(left[rows], hidden, mask[rows, None])
                whole, now, empty = (explained.score(x.contiguous(), index[rows].long()) for x in (images[rows], rest, hidden))
                parts.append((rest, now - empty > self.rest * (whole - empty)))
        rest, more = (torch.cat(column) for column in zip(*parts))
        return rest, going & more

    def _weights(self, explained: Explainable, images: Tensor, index: Tensor, found: Tensor) -> Tensor:
        """(B, K)"""
        several = (found[:, 1:].flatten(1) > 0).any(1)
        weights = found.new_ones(found.shape[:2])
        if self.fusion_steps and several.any():
            weights[several] = learn_masks(explained, images[several], index[several], _Fusion(self, explained, found[several]),
                                           steps=self.fusion_steps, optimiser=Adam(self.rate), batch_size=self.batch_size).result
        return weights


@dataclass(frozen=True)
class _Vectors:
    """The superimposed mask of one module; see :class:`protomask.localizers.learning.MaskProblem`."""

    settings: HDM
    explained: Explainable
    sizes: tuple[int, ...]
    start: Tensor | None = None
    """(N, H, W), what all vectors start as; None: ones"""

    def begin(self, pairs: Pairs) -> None:
        begin_objective(self.explained, pairs, self.settings.background, self.settings.seed)
        for number, size in enumerate(self.sizes):
            shape = grid_shape(size, pairs.image_size)
            pairs.learned[f"vector{number}"] = (
                pairs.images.new_ones(len(pairs), 1, *shape) if self.start is None
                else F.adaptive_avg_pool2d(self.start[pairs.position][:, None], shape))

    def mask(self, pairs: Pairs) -> Tensor:
        return sum(upsample(vector, pairs.image_size) for vector in pairs.learned.values()) / len(pairs.learned)

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        return shown(pairs, mask), shown(pairs, 1 - mask)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        size = mask.mean((1, 2, 3))
        return fall(pairs, scores[0]).relu() + remainder(pairs, scores[1]) + self.settings.size_weight * size

    def after_step(self, pairs: Pairs) -> None:
        for vector in pairs.learned.values():
            vector.clamp_(0, 1)

    def result(self, pairs: Pairs) -> Tensor:
        return self.mask(pairs)[:, 0]


@dataclass(frozen=True)
class _Fusion:
    """Weights of the modules' masks ``found`` (N, K, H, W)."""

    settings: HDM
    explained: Explainable
    found: Tensor

    def begin(self, pairs: Pairs) -> None:
        begin_objective(self.explained, pairs, self.settings.background, self.settings.seed)
        pairs.fixed["found"] = self.found[pairs.position]
        pairs.learned["weights"] = pairs.images.new_ones(len(pairs), self.found.shape[1])

    def mask(self, pairs: Pairs) -> Tensor:
        return torch.einsum("bk,bkhw->bhw", pairs.learned["weights"], pairs.fixed["found"])[:, None].clamp(max=1)

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        return (shown(pairs, mask),)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        return fall(pairs, scores[0]).relu() + self.settings.size_weight * mask.mean((1, 2, 3))

    def after_step(self, pairs: Pairs) -> None:
        pairs.learned["weights"].clamp_(min=0)

    def result(self, pairs: Pairs) -> Tensor:
        return pairs.learned["weights"]
