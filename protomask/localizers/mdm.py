"""MDM, Multiple Dynamic Masks (Peng, Yang, Liu, He, arXiv 2207.08046)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.learning import learn_masks
from protomask.localizers.objective import CONSISTENCY, OBJECTIVE_BACKGROUNDS
from protomask.localizers.optimisers import Adam
from protomask.localizers.speed import PRECISIONS, faster
from protomask.localizers.stack import Stack

@dataclass(frozen=True)
class MDM:
    """Mask vectors of several sizes, learned to keep the score with little of the image, stacked into one map.

    Known: mask vectors of different sizes, trained by constraining their values and keeping the activation consistent;
    masks of different scales stacked; nothing of the network's inside is used; all-ones start. Reconstruction, for the stack
    M = mean of the bilinear upsamplings of v_n in [0, 1], n in ``sizes``, the background r and the score's range
    R = s(x) - s(r):

    - *keeping*: minimise  (s(x) - s(x M + r (1 - M))) / R  +  lambda mean(v);
    - lambda grows geometrically from the first to the last of ``size_weights``, and the mask is the mean over the later steps:
      what outlives a high price counts more;
    - r is the mean colour and the blurred image in turn, so that the mask owes nothing to either;
    - saliency = min-max of the mask.

    Optional, *destroying* (``destroy_steps`` > 0): a further stack that minimises  (s(x (1 - M) + r M) - s(r)) / R  +
    lambda mean(v), with a lambda of its own, is added with the weight ``destroy_share``.

    >>> from protomask import Classifier                                        # doctest: +SKIP
    >>> saliency = MDM()(Classifier(model), images, classes)                    # doctest: +SKIP

    Args:
        sizes: cells along the image's shorter side.
        size_weights: lambda at the first and at the last step, the price of showing everything.
        keep_steps, keep_rate: Adam's steps and learning rate.
        together: learn the stack as one mask; False: each vector alone, the masks averaged afterwards (and len(sizes) times
            the cost).
        settle: share of the steps before the mean begins; 1 takes the last mask alone.
        consistency: ``"signed"`` as above, ``"one-sided"`` (only a fall of the score counts), ``"absolute"``, ``"squared"``.
        background: ``"zero"`` (the mean colour), ``"blur"``, ``"noise"``, or ``"alternating"`` between zero and blur.
        destroy_sizes, destroy_weights, destroy_steps, destroy_rate: the same for destroying; 0 steps leave it out.
        destroy_share: weight of the destroying mask in the map.
        seed: of the noise.
        batch_size: pairs learned together, see :func:`protomask.localizers.learning.learn_masks`; does not change the result.
        precision: ``"fp32"``, or ``"bf16"`` autocast of the model.

    Cost: keep_steps + destroy_steps forward-backward passes per pair.
    """

    sizes: tuple[int, ...] = (7, 14, 28)
    size_weights: tuple[float, float] = (1.0, 4.0)
    keep_steps: int = 24
    keep_rate: float = 0.1
    together: bool = True
    settle: float = 0.375
    consistency: str = "signed"
    background: str = "alternating"
    destroy_sizes: tuple[int, ...] = (7, 14, 28)
    destroy_weights: tuple[float, float] = (1.0, 1.0)
    destroy_steps: int = 0
    destroy_rate: float = 0.15
    destroy_share: float = 0.05
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("sizes", "destroy_sizes"):
            if min(getattr(self, name), default=0) < 1:
                raise InputError(f"MDM: {name} are {getattr(self, name)}; give at least one, each at least 1")
        for name in ("size_weights", "destroy_weights"):
            if len(getattr(self, name)) != 2 or not min(getattr(self, name)) > 0:
                raise InputError(f"MDM: {name} are {getattr(self, name)}; give the first and the last, both positive")
        for name, value, known in (("consistency", self.consistency, CONSISTENCY), ("precision", self.precision, PRECISIONS),
                                   ("background", self.background, OBJECTIVE_BACKGROUNDS)):
            if value not in known:
                raise InputError(f"MDM: {name} {value!r} is unknown; choose one of {', '.join(known)}")
        if self.keep_steps < 1 or self.destroy_steps < 0 or not 0 <= self.settle <= 1:
            raise InputError(f"MDM: keep_steps={self.keep_steps}, destroy_steps={self.destroy_steps}, settle={self.settle}; "
                             "give at least 1 and 0, and 0 to 1")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        check_pairs(images, index)
        explained = faster(explained, images, index, self.precision)

        def stacked(destroy: bool) -> Tensor:
            sizes, weights, steps, rate = (
                (self.destroy_sizes, self.destroy_weights, self.destroy_steps, self.destroy_rate) if destroy
                else (self.sizes, self.size_weights, self.keep_steps, self.keep_rate))
            groups = [sizes] if self.together else [(size,) for size in sizes]
            return sum(learn_masks(
                explained, images, index, Stack(explained, group, weights, steps, self.settle, self.consistency, self.background,
                                                self.seed, destroy),
                steps=steps, optimiser=Adam(rate), batch_size=self.batch_size, progress=progress,
                description=f"mdm {'destroy' if destroy else 'keep'} {'+'.join(map(str, group))}").result
                for group in groups) / len(groups)

        total = stacked(False)
        if self.destroy_steps:
            total = total + self.destroy_share * stacked(True)
        return min_max(total)
