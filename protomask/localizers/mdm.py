"""MDM, Multiple Dynamic Masks (Peng, Yang, Liu, He, arXiv 2207.08046)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.learning import Pairs, learn_masks
from protomask.localizers.masks import BACKGROUNDS, grid_shape, upsample
from protomask.localizers.objective import begin_objective, fall, remainder, shown
from protomask.localizers.optimisers import Adam
from protomask.localizers.speed import PRECISIONS, faster

CONSISTENCY = ("one-sided", "absolute", "squared")


@dataclass(frozen=True)
class MDM:
    """Masks of several sizes, each learned to keep the score with little of the image, stacked into one map.

    Known: mask vectors of different sizes, each trained by constraining its values and keeping the activation consistent;
    masks of different scales stacked; nothing of the network's inside is used; all-ones start. Reconstruction, for a mask
    M = bilinear upsampling of v in [0, 1], the background r and the score's range R = s(x) - s(r):

    - *keeping*, on the finest of ``sizes``: minimise  max(0, s(x) - s(x M + r (1 - M))) / R  +  size_weight mean(v),
    - *destroying*, on each of ``sizes``: minimise  max(0, s(x (1 - M) + r M) - s(r)) / R  +  size_weight mean(v),
    - saliency = min-max of (keeping mask + destroy_share * mean of the destroying masks).

    The keeping mask says what is enough, and is zero over most of the image; the destroying masks order the rest by what
    else the score could rest on.

    >>> from protomask import Classifier                                        # doctest: +SKIP
    >>> saliency = MDM()(Classifier(model), images, classes)                    # doctest: +SKIP

    Args:
        sizes: cells along the image's shorter side, coarse to fine.
        size_weight: lambda, the price of showing everything.
        keep_steps, keep_rate: Adam's steps and learning rate for the keeping mask.
        destroy_steps, destroy_rate: likewise for each destroying mask; 0 steps leave them out.
        destroy_share: weight of the destroying masks in the map.
        consistency: ``"one-sided"`` (only a fall of the score counts), ``"absolute"`` or ``"squared"``.
        background: ``"zero"`` (the mean colour), ``"blur"`` or ``"noise"``.
        seed: of the noise.
        batch_size: pairs learned together, see :func:`protomask.localizers.learning.learn_masks`; does not change the result.
        precision: ``"fp32"``, or ``"bf16"`` autocast of the model.

    Cost: keep_steps + len(sizes) * destroy_steps forward-backward passes per pair, 44 by default.
    """

    sizes: tuple[int, ...] = (7, 14, 28)
    size_weight: float = 1.0
    keep_steps: int = 14
    keep_rate: float = 0.1
    destroy_steps: int = 10
    destroy_rate: float = 0.15
    destroy_share: float = 0.05
    consistency: str = "one-sided"
    background: str = "zero"
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise InputError(f"MDM: sizes are {self.sizes}; give at least one, each at least 1")
        for name, value, known in (("consistency", self.consistency, CONSISTENCY), ("background", self.background, BACKGROUNDS),
                                   ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise InputError(f"MDM: {name} {value!r} is unknown; choose one of {', '.join(known)}")
        if self.keep_steps < 1 or self.destroy_steps < 0:
            raise InputError(f"MDM: keep_steps={self.keep_steps}, destroy_steps={self.destroy_steps}; give at least 1 and 0")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        check_pairs(images, index)
        explained = faster(explained, images, index, self.precision)

        def learn(destroy: bool, size: int) -> Tensor:
            steps, rate = (self.destroy_steps, self.destroy_rate) if destroy else (self.keep_steps, self.keep_rate)
            return learn_masks(explained, images, index, _Grid(self, explained, size, destroy), steps=steps,
                               optimiser=Adam(rate), batch_size=self.batch_size, progress=progress,
                               description=f"mdm {'destroy' if destroy else 'keep'} {size}").result

        total = learn(False, self.sizes[-1])
        if self.destroy_steps:
            total = total + self.destroy_share * sum(learn(True, size) for size in self.sizes) / len(self.sizes)
        return min_max(total)


@dataclass(frozen=True)
class _Grid:
    """One mask vector: see :class:`protomask.localizers.learning.MaskProblem`."""

    settings: MDM
    explained: Explainable
    size: int
    destroy: bool

    def begin(self, pairs: Pairs) -> None:
        pairs.learned["vector"] = pairs.images.new_ones(len(pairs), 1, *grid_shape(self.size, pairs.image_size))
        begin_objective(self.explained, pairs, self.settings.background, self.settings.seed)

    def mask(self, pairs: Pairs) -> Tensor:
        return upsample(pairs.learned["vector"], pairs.image_size)

    def views(self, pairs: Pairs, mask: Tensor) -> tuple[Tensor, ...]:
        return (shown(pairs, 1 - mask if self.destroy else mask),)

    def loss(self, pairs: Pairs, mask: Tensor, scores: Tensor) -> Tensor:
        if self.destroy:
            consistency = remainder(pairs, scores[0])
        else:
            lost = fall(pairs, scores[0])
            consistency = {"one-sided": lost.relu(), "absolute": lost.abs(), "squared": lost.square()}[self.settings.consistency]
        return consistency + self.settings.size_weight * pairs.learned["vector"].mean((1, 2, 3))

    def after_step(self, pairs: Pairs) -> None:
        pairs.learned["vector"].clamp_(0, 1)

    def result(self, pairs: Pairs) -> Tensor:
        return upsample(pairs.learned["vector"], pairs.image_size)[:, 0]
