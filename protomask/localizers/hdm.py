"""HDM, Hierarchical Dynamic Masks (Peng, Yang, Liu, He, arXiv 2301.04970)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.capabilities import score_kind
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, fitting_batch_size, min_max, run_in_chunks
from protomask.localizers.engine.learning import MaskState
from protomask.localizers.engine.objective import (
    ALTERNATING,
    begin_objective,
    masked_images,
    score_drop,
    score_range,
)
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.settings import (
    Cascade,
    Fusion,
    Keep,
    Order,
    Runtime,
    Settings,
    Views,
    check_parts,
    require_value,
)
from protomask.localizers.stages import Stages, ready_to_learn

ANOTHER_SEED = 7919
"""between the seeds of a module's benchmark masks"""


@dataclass(frozen=True, repr=False)
class HDM(Settings):
    """Learn a cascade of masks, each on what the ones before have left of the image, fused by learned weights.

    Known: a module learns small *benchmark* vectors that find the critical regions roughly, and they guide large
    *auxiliary* vectors, so that the superimposed mask is fine-grained and less sensitive to adversarial perturbations;
    each next module works on the image from which the regions found so far are masked out; all are fused in a
    learning-based way. Reconstruction, with the background r, R_k = s(x_k) - s(r) and keep_k(M) = (s(x_k) - s(x_k M + r
    (1 - M))) / R_k:

    - benchmark: the mean B of the upsampled vectors of ``keep.sizes``, all-ones at the start, minimises
      keep_k(B) + lambda mean(B); lambda grows as for :class:`protomask.localizers.MDM`, and B is the mean over the
      later steps; for classes, ours, the mean of two such masks (``cascade.benchmarks``), each learned on views drawn
      for itself: what only one of them found by chance counts half;
    - auxiliary: vectors of ``order.sizes`` start as B, scaled to [0, 1]; A, their mean,
      learns which pixels come first at every area (:class:`protomask.localizers.engine.order.OrderProblem`): cut softly
      at a share of the pixels it keeps the score, and its complement destroys it. A (B^guide + leeway), both scaled to
      [0, 1], is the order of the pixels: the fine mask counts where the rough one looks, and less elsewhere; in S_k
      they take the values of B in that order, or, for prototypes, as many are shown as the score needs;
    - cascade: x_1 = x,  x_{k+1} = x_k (1 - S_k) + r S_k with the mean colour as r; a pair ends when
      (s(x_k) - s(r)) / R_1 <= ``cascade.rest``, and S_k counts wholly from twice as much on, in a ramp between. For
      classes, ours, s is the probability here, and the rest half of it: another object brings all of it, what is left
      of one that was found brings less;
    - fusion: for prototypes, w_k >= 0 minimises keep_1(M) + lambda mean(M) for M = min(1, sum_k w_k S_k); lambda the
      last of ``keep.size_weights``; as many pixels of sum_k w_k S_k are shown as the score needs. For classes, ours,
      w_1 = 1, and each later w_k in [0, 1] minimises keep_k(w_k S_k) + lambda mean(w_k S_k), so that of several
      objects, each of which suffices, all stay, and none outweighs the first; the map is sum_k w_k S_k.

    Settings that are not given are chosen by what is explained: those of :meth:`for_classes` for a
    :class:`protomask.Classifier`, those of :meth:`for_prototypes` for everything else.

    >>> from protomask import HDM, Classifier                                   # doctest: +SKIP
    >>> saliency = HDM()(Classifier(model), images, classes)                    # doctest: +SKIP
    >>> longer = HDM(cascade=Cascade(modules=3))                                # or get_localizer("hdm:modules=3")

    Args:
        keep: how each module's benchmark is learned.
        order: how each module's auxiliary vectors are learned.
        cascade: how the modules follow each other.
        fusion: how their weights are learned.
        views: how what the network sees is varied at each step.
        background: as of :class:`protomask.localizers.MDM`.
        runtime: batch size, precision, seed.

    Cost in forward-backward passes per pair: per module that it enters cascade.benchmarks * keep.steps + 2 order.steps,
    and, where there is more than one, fusion.steps, for classes times the later modules: 120 for a class, and 125 more
    where another object is left to find.
    """

    keep: Keep = Keep()
    order: Order = Order()
    cascade: Cascade = Cascade()
    fusion: Fusion = Fusion()
    views: Views = Views()
    background: str | None = None
    runtime: Runtime = Runtime()

    def __post_init__(self) -> None:
        check_parts(self)
        self.require(self.order.steps != 0, "order", "it at least 1 step: HDM has no map without it")

    @classmethod
    def for_classes(cls) -> HDM:
        """Make the settings for the classes of a classifier."""
        keep = Keep(sizes=(7, 14, 28), size_weights=(1.0, 4.0), steps=24, settle=0.375, consistency="signed")
        order = Order(
            sizes=(7, 14, 28), steps=36, rate=0.015, damping=1.0, values="mask", contrast=1.75, area_weight=2.0
        )
        return cls(
            keep,
            order,
            Cascade(rest=0.5, in_probability=True, benchmarks=2),
            Fusion(steps=5, rate=0.2, complete=True),
            Views(noise=0.25, shift=1 / 14),
            ALTERNATING,
        )

    @classmethod
    def for_prototypes(cls) -> HDM:
        """Make the settings for prototypes and every other score.

        The order deletes better on the mean colour alone, and damping makes maps steady at little loss.
        """
        keep = Keep(sizes=(7, 14, 28), size_weights=(1.0, 4.0), steps=24, settle=0.375, consistency="signed")
        order = Order(
            sizes=(28, 112, 224), steps=36, rate=0.1, damping=0.3, values="sufficient", contrast=1.0, area_weight=2.0
        )
        return cls(
            keep,
            order,
            Cascade(rest=0.1, in_probability=False, benchmarks=1),
            Fusion(steps=10, rate=0.1, complete=False),
            Views(noise=0.0, shift=0.0),
            "zero",
        )

    def for_model(self, explained: Explainable) -> HDM:
        """Fill in every setting, as it is used for this model."""
        return self.completed(self.for_classes() if isinstance(explained, Classifier) else self.for_prototypes())

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        settings = self.for_model(explained)
        given = settings.runtime
        with ready_to_learn(explained, images, index, given.batch_size, given.precision, alone=True) as (
            quick,
            wide,
            batch_size,
        ):
            runtime = replace(given, batch_size=batch_size)
            stages = Stages(quick, require_value(settings.background), runtime, settings.views)
            return replace(settings, runtime=runtime)._learn(stages, wide, index, progress)

    def _learn(self, stages: Stages, images: Tensor, index: Tensor, progress: bool) -> Tensor:
        modules = self.cascade.modules
        found = images.new_zeros(len(images), modules, *images.shape[-2:])
        with tqdm(total=modules + 1, desc="hdm", unit="module", disable=not progress) as bar:
            left, worth = images.detach(), torch.ones_like(index, dtype=images.dtype)
            for number in range(modules):
                going = worth > 0
                found[going, number] = (
                    self._learn_module(stages, left[going], index[going], warn=number == 0) * worth[going, None, None]
                )
                bar.update()
                if number + 1 < modules:
                    left, worth = self._remove_found(stages.explained, images, index, left, found[:, number], worth)
                    going = worth > 0
                if not going.any():
                    break
            found = found[:, : number + 1]
            saliency, several = found[:, 0].clone(), (found[:, 1:].flatten(1) > 0).any(1)
            if several.any():
                saliency[several] = self._fuse(stages, images[several], index[several], found[several])
            bar.update(modules - number)
        return min_max(saliency).pow(require_value(self.order.contrast))

    def _learn_module(self, stages: Stages, images: Tensor, index: Tensor, warn: bool) -> Tensor:
        """Learn the mask S_k, (B, H, W), of one module."""
        rough = min_max(self._benchmark(stages, images, index, warn)).to(images)
        fine = stages.order(images, index, rough, self.order).to(images)
        guided = fine * (rough**self.cascade.guide + self.cascade.leeway)
        return stages.show(images, index, guided, rough, self._plain_order()).to(images)

    def _benchmark(self, stages: Stages, images: Tensor, index: Tensor, warn: bool) -> Tensor:
        """Learn where the critical regions are, roughly: the mean (B, H, W) of the benchmark masks."""
        masks, runtime = [], stages.runtime
        for number in range(require_value(self.cascade.benchmarks)):
            seed = (runtime.seed + number * ANOTHER_SEED) % 2**63 if number else runtime.seed
            own = replace(stages, runtime=replace(runtime, seed=seed))
            masks.append(min_max(own.keep(images, index, self.keep, warn=warn and not number)))
        return torch.stack(masks).mean(0)

    def _plain_order(self) -> Order:
        """Give the order without contrast, which the map gets when all modules have been found and fused."""
        return replace(self.order, contrast=1.0)

    def _remove_found(
        self, explained: Explainable, images: Tensor, index: Tensor, left: Tensor, mask: Tensor, worth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hide what was found: x_{k+1}, and what a module is worth there, (B,).

        From 0, nothing is left to find, to 1 in a ramp, so that no map jumps where the score left is hardly more or
        less than ``cascade.rest``.
        """
        rest_share = require_value(self.cascade.rest)
        logs = require_value(self.cascade.in_probability) and score_kind(explained) == "log-probability"

        def part_of(rows: slice) -> tuple[Tensor, Tensor]:
            hidden = torch.zeros_like(images[rows])
            rest = torch.lerp(left[rows], hidden, mask[rows, None])
            whole, now, empty = (
                explained.score(x.contiguous(), index[rows].long()) for x in (images[rows], rest, hidden)
            )
            if logs:
                whole, now, empty = whole.exp(), now.exp(), empty.exp()
            left_over = (now - empty) / score_range(whole, empty) - rest_share
            return rest, (left_over / max(rest_share, 1e-6)).clamp(0, 1)

        with torch.no_grad(), frozen(explained):
            parts = run_in_chunks(len(images), fitting_batch_size(self.runtime.batch_size, images), part_of)
        rest, more = (torch.cat(column) for column in zip(*parts))
        return rest, worth.minimum(more.to(worth))

    def _fuse(self, stages: Stages, images: Tensor, index: Tensor, found: Tensor) -> Tensor:
        """Fuse the modules' masks ``found`` (B, K, H, W) to (B, H, W)."""
        weights = found.new_ones(found.shape[:2])
        steps = require_value(self.fusion.steps)
        if steps:
            problem = _FusionProblem(
                stages.explained,
                found,
                require_value(self.keep.size_weights)[1],
                require_value(self.fusion.complete),
                stages.background,
                stages.runtime.seed,
            )
            weights = stages.learn(images, index, problem, steps, Adam(require_value(self.fusion.rate)), "fusion")
        fused = _weighted_sum(weights, found)
        return stages.show(images, index, fused, fused, self._plain_order()).to(found)


def _weighted_sum(weights: Tensor, masks: Tensor) -> Tensor:
    """(B, H, W), the sum of ``masks`` (B, K, H, W) by ``weights`` (B, K); no matrix product, which autocast would
    round."""
    return (weights[..., None, None] * masks).sum(1)


@dataclass(frozen=True)
class _FusionProblem:
    """Learn the weights of the modules' masks ``found`` (N, K, H, W)."""

    explained: Explainable
    found: Tensor
    size_weight: float
    complete: bool
    """each mask but the first by itself, on the image that the ones before have left; else their sum on the whole
    image"""
    background: str
    seed: int

    def begin(self, state: MaskState) -> None:
        begin_objective(self.explained, state, self.background, self.seed)
        state.buffers["found"] = self.found[state.position]
        state.learned["weights"] = state.images.new_ones(len(state), self.found.shape[1] - self.complete)

    def mask(self, state: MaskState) -> Tensor:
        return _weighted_sum(self.result(state), state.buffers["found"])[:, None].clamp(max=1)

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        if not self.complete:
            return (masked_images(state, mask),)
        hidden, left = masked_images(state, torch.zeros_like(mask)), state.images
        masks = state.buffers["found"][:, :, None].unbind(1)
        views = []
        for before, found, weight in zip(masks, masks[1:], state.learned["weights"].unbind(1)):
            left = left * (1 - before)
            views.append(torch.lerp(hidden, left, weight.view(-1, 1, 1, 1) * found))
        return tuple(views)

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        if not self.complete:
            return score_drop(state, scores[0]) + self.size_weight * mask.mean((1, 2, 3))
        kept = sum(score_drop(state, each) for each in scores)
        return kept + self.size_weight * (self.result(state) * state.buffers["found"].mean((2, 3))).sum(1)

    def after_step(self, state: MaskState) -> None:
        state.learned["weights"].clamp_(min=0, max=1 if self.complete else None)

    def result(self, state: MaskState) -> Tensor:
        """Give the weights (B, K) of all masks."""
        weights = state.learned["weights"]
        return torch.cat([torch.ones_like(weights[:, :1]), weights], 1) if self.complete else weights
