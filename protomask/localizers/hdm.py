"""HDM, Hierarchical Dynamic Masks (Peng, Yang, Liu, He, arXiv 2301.04970)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, in_parts, min_max, together
from protomask.localizers.engine.learning import Pairs, learn_masks
from protomask.localizers.engine.objective import ALTERNATING, OBJECTIVE_BACKGROUNDS, begin_objective, fall, shown
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.engine.order import AREAS, Order, check_cuts, sufficient
from protomask.localizers.engine.speed.folding import PRECISIONS, faster
from protomask.localizers.engine.stack import Stack


@dataclass(frozen=True)
class HDM:
    """A cascade of dynamic-masks modules, each on what the ones before it have left of the image, fused by learned
    weights.

    Known: a module learns small *benchmark* vectors that find the critical regions roughly, and they guide large
    *auxiliary* vectors, so that the superimposed mask is fine-grained and less sensitive to adversarial perturbations;
    each next module works on the image from which the regions found so far are masked out; all are fused in a
    learning-based way. Reconstruction, with the background r, R_k = s(x_k) - s(r) and keep_k(M) = (s(x_k) - s(x_k M + r
    (1 - M))) / R_k:

    - benchmark: the mean B of the upsampled vectors of ``benchmark_sizes``, all-ones at the start, minimises
      keep_k(B) + lambda mean(B); lambda grows as for :class:`protomask.localizers.MDM`, and B is the mean over the
      later steps;
    - auxiliary: vectors of ``auxiliary_sizes``, down to single pixels, start as B, scaled to [0, 1]; A, their mean,
      learns which pixels come first at every area (:class:`protomask.localizers.engine.order.Order`): cut softly at a share of
      the pixels it keeps the score, and its complement destroys it. A (B^guide + leeway), both scaled to [0, 1], is the
      order of the pixels: the fine mask counts where the rough one looks, and less elsewhere; S_k shows as many of them
      as the score needs (:func:`protomask.localizers.engine.order.sufficient`);
    - cascade: x_1 = x,  x_{k+1} = x_k (1 - S_k) + r S_k with the mean colour as r; a pair ends when
      (s(x_k) - s(r)) / R_1 <= ``rest``;
    - fusion: w_k >= 0 minimises keep_1(M) + lambda mean(M) for M = min(1, sum_k w_k S_k); lambda the last of
      ``size_weights``; the order is that of sum_k w_k S_k, and as many pixels of it are shown as the score needs.

    >>> from protomask import HDM, Classifier                                   # doctest: +SKIP
    >>> saliency = HDM()(Classifier(model), images, classes)                    # doctest: +SKIP

    Args:
        benchmark_sizes, auxiliary_sizes: cells along the image's shorter side.
        modules: length of the cascade, at most.
        rest: share of the score's range below which nothing is left to find.
        benchmark_steps, auxiliary_steps, fusion_steps: Adam's steps; of fusion, 0 gives every module the weight 1.
        rate: Adam's learning rate; that of fusion is the same.
        damping: of the auxiliary stage, see :class:`protomask.localizers.MDM`; None: 0 for a
            :class:`protomask.Classifier`, 0.3 for prototypes and everything else, whose maps it makes steady at little
            loss.
        size_weights: lambda at the first and at the last step of the benchmark.
        settle: share of the benchmark's steps before its mean begins.
        areas: shares of the image at which the auxiliary stage cuts its mask.
        softness: of the cut, in units of the mask.
        guide: how much the benchmark holds the auxiliary mask to its regions; 0: not at all.
        leeway: what the auxiliary mask counts outside the benchmark's regions.
        area_weight: price of a larger share of the image when it is chosen how much S_k shows.
        background: ``"zero"`` (the mean colour), ``"blur"``, ``"noise"``, or ``"alternating"`` between zero and blur;
            None: alternating for a :class:`protomask.Classifier`, zero for prototypes and everything else, whose order
            deletes better so.
        seed: of the noise.
        batch_size, precision: see :class:`protomask.localizers.MDM`.

    Cost in forward-backward passes per pair: per module that it enters benchmark_steps + 2 auxiliary_steps, and
    fusion_steps where there is more than one.
    """

    benchmark_sizes: tuple[int, ...] = (7, 14, 28)
    auxiliary_sizes: tuple[int, ...] = (28, 112, 224)
    modules: int = 2
    rest: float = 0.1
    benchmark_steps: int = 24
    auxiliary_steps: int = 36
    fusion_steps: int = 10
    rate: float = 0.1
    damping: float | None = None
    size_weights: tuple[float, float] = (1.0, 4.0)
    settle: float = 0.375
    areas: tuple[float, ...] = AREAS
    softness: float = 0.05
    guide: float = 0.75
    leeway: float = 0.5
    area_weight: float = 2.0
    background: str | None = None
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
        if len(self.size_weights) != 2 or not min(self.size_weights) > 0:
            raise InputError(f"HDM: size_weights are {self.size_weights}; give the first and the last, both positive")
        if min(self.guide, self.leeway) < 0 or not 0 <= self.settle <= 1:
            raise InputError(
                f"HDM: guide={self.guide}, leeway={self.leeway}, settle={self.settle}; give nothing negative, and for settle 0 to 1"
            )
        check_cuts("HDM", self.areas, self.softness, self.area_weight, self.damping or 0.0)
        for name, value, known in (
            ("background", self.background or ALTERNATING, OBJECTIVE_BACKGROUNDS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"HDM: {name} {value!r} is unknown; choose one of {', '.join(known)}")

    def for_model(self, explained: Explainable) -> HDM:
        """The same with the background and the damping filled in where they are None, as it is used for this model."""
        background, damping = (ALTERNATING, 0.0) if isinstance(explained, Classifier) else ("zero", 0.3)
        return replace(
            self, background=self.background or background, damping=damping if self.damping is None else self.damping
        )

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        check_pairs(images, index)
        return self.for_model(explained)._learned(
            faster(explained, images, index, self.precision), images, index, progress
        )

    def _learned(self, explained: Explainable, images: Tensor, index: Tensor, progress: bool) -> Tensor:
        found = images.new_zeros(len(images), self.modules, *images.shape[-2:])
        with tqdm(total=self.modules + 1, desc="hdm", unit="module", disable=not progress) as bar:
            left = images.detach()
            going = torch.ones_like(index, dtype=torch.bool)
            for number in range(self.modules):
                found[going, number] = self._superimposed(explained, left[going], index[going])
                bar.update()
                if number + 1 < self.modules:
                    left, going = self._without(explained, images, index, left, found[:, number], going)
                if not going.any():
                    break
            found = found[:, : number + 1]
            saliency, several = found[:, 0].clone(), (found[:, 1:].flatten(1) > 0).any(1)
            if several.any():
                saliency[several] = self._fused(explained, images[several], index[several], found[several])
            bar.update(self.modules - number)
        return min_max(saliency)

    def _superimposed(self, explained: Explainable, images: Tensor, index: Tensor) -> Tensor:
        """S_k, (B, H, W), of one module."""
        benchmark = Stack(
            explained,
            self.benchmark_sizes,
            self.size_weights,
            self.benchmark_steps,
            self.settle,
            "signed",
            self.background,
            self.seed,
        )
        rough = learn_masks(
            explained,
            images,
            index,
            benchmark,
            steps=self.benchmark_steps,
            optimiser=Adam(self.rate),
            batch_size=self.batch_size,
        ).result
        rough = min_max(rough).to(images)
        order = Order(
            explained,
            rough,
            self.auxiliary_sizes,
            self.auxiliary_steps,
            self.areas,
            self.softness,
            background=self.background,
            seed=self.seed,
        )
        fine = learn_masks(
            explained,
            images,
            index,
            order,
            steps=self.auxiliary_steps,
            optimiser=Adam(self.rate, damping=self.damping),
            batch_size=self.batch_size,
        ).result
        guided = min_max(fine).to(images) * (rough**self.guide + self.leeway)
        return sufficient(explained, images, index, guided, self.area_weight, self.batch_size).to(images)

    def _without(
        self, explained: Explainable, images: Tensor, index: Tensor, left: Tensor, mask: Tensor, going: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x_{k+1}, and which pairs have something left to find there."""

        def part_of(rows: slice) -> tuple[Tensor, Tensor]:
            hidden = torch.zeros_like(images[rows])
            rest = torch.lerp(left[rows], hidden, mask[rows, None])
            whole, now, empty = (
                explained.score(x.contiguous(), index[rows].long()) for x in (images[rows], rest, hidden)
            )
            return rest, now - empty > self.rest * (whole - empty)

        with torch.no_grad(), frozen(explained):
            parts = in_parts(len(images), together(self.batch_size, images), part_of)
        rest, more = (torch.cat(column) for column in zip(*parts))
        return rest, going & more

    def _fused(self, explained: Explainable, images: Tensor, index: Tensor, found: Tensor) -> Tensor:
        """(B, H, W) out of the modules' masks ``found`` (B, K, H, W)."""
        weights = found.new_ones(found.shape[:2])
        if self.fusion_steps:
            weights = learn_masks(
                explained,
                images,
                index,
                _Fusion(self, explained, found),
                steps=self.fusion_steps,
                optimiser=Adam(self.rate),
                batch_size=self.batch_size,
            ).result
        order = _superposed(weights, found)
        return sufficient(explained, images, index, order, self.area_weight, self.batch_size).to(found)


def _superposed(weights: Tensor, masks: Tensor) -> Tensor:
    """(B, H, W), the sum of ``masks`` (B, K, H, W) by ``weights`` (B, K); no matrix product, which autocast would
    round."""
    return (weights[..., None, None] * masks).sum(1)


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
        return _superposed(pairs.learned["weights"], pairs.fixed["found"])[:, None].clamp(max=1)

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        return (shown(pairs, mask),)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        return fall(pairs, scores[0]) + self.settings.size_weights[1] * mask.mean((1, 2, 3))

    def after_step(self, pairs: Pairs) -> None:
        pairs.learned["weights"].clamp_(min=0)

    def result(self, pairs: Pairs) -> Tensor:
        return pairs.learned["weights"]
