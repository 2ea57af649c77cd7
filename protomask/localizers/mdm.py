"""MDM, Multiple Dynamic Masks (Peng, Yang, Liu, He, arXiv 2207.08046)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from protomask.explainable import Classifier, Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.objective import ALTERNATING
from protomask.localizers.settings import (
    Destroy,
    Keep,
    Order,
    Runtime,
    Settings,
    Views,
    check_parts,
    require_value,
)
from protomask.localizers.stages import Stages, ready_to_learn


@dataclass(frozen=True, repr=False)
class MDM(Settings):
    """Learn masks of several sizes that keep the score with little of the image, stacked into one map.

    Known: mask vectors of different sizes, trained by constraining their values and keeping the activation consistent;
    masks of different scales stacked; nothing of the network's inside is used; all-ones start. Reconstruction, for the
    stack M = mean of the bilinear upsamplings of v_n in [0, 1], n in ``keep.sizes``, the background r and the score's
    range R = s(x) - s(r):

    - *keeping*: minimise  (s(x) - s(x M + r (1 - M))) / R  +  lambda mean(v);
    - lambda grows geometrically from the first to the last of ``keep.size_weights``, and the mask is the mean over the
      later steps: what outlives a high price counts more;
    - r is the mean colour and the blurred image in turn, so that no mask depends on one background;
    - *destroying*, on each of ``destroy.sizes`` alone: minimise  max(0, s(x (1 - M) + r M) - s(r)) / R  +
      destroy.size_weight mean(v), r the mean colour; the mean of these masks is added with the small weight
      ``destroy.share``. The keeping mask is zero over most of the image; these order the rest by what else the score
      could rest on;
    - *ordering*, ours: further vectors, of ``order.sizes``, start as the mask found so far and learn which pixels come
      first at every area (:class:`protomask.localizers.engine.order.OrderProblem`): A. Pixels come in the order of
      A (M + 1/2), both scaled to [0, 1], and take the values of M, to the power ``order.contrast``, in that order, the
      greatest first;
    - *varying*, ours: at each step the network sees the masked image shifted and with noise
      (:class:`protomask.localizers.engine.variation.Variation`), so that a map rests on what stays: neither on what
      rounding or an invisible change decides, nor on what only this network sees;
    - saliency = min-max of what the last of these stages gives.

    Settings that are not given are chosen by what is explained: those of :meth:`for_classes` for a
    :class:`protomask.Classifier`, those of :meth:`for_prototypes` for everything else; each was the best on training
    images of its kind.

    >>> from protomask import Classifier                                        # doctest: +SKIP
    >>> saliency = MDM()(Classifier(model), images, classes)                    # doctest: +SKIP
    >>> other = MDM(views=Views(noise=0.1), runtime=Runtime(seed=3))          # or get_localizer("mdm:noise=0.1,seed=3")

    Args:
        keep: how the mask that keeps the score is learned.
        destroy: how the masks that destroy it are learned; ``Destroy(steps=0)`` leaves them out.
        order: how the pixels are ordered; ``Order(steps=0)`` leaves it out.
        views: how what the network sees is varied at each step.
        background: ``"zero"`` (the mean colour), ``"blur"``, ``"noise"``, or ``"alternating"`` between zero and blur.
        runtime: batch size, precision, seed.

    Cost: keep.steps + len(destroy.sizes) * destroy.steps + 2 order.steps forward-backward passes per pair: 52 for
    classes, 44 for prototypes.
    """

    keep: Keep = Keep()
    destroy: Destroy = Destroy()
    order: Order = Order()
    views: Views = Views()
    background: str | None = None
    runtime: Runtime = Runtime()

    def __post_init__(self) -> None:
        check_parts(self)

    @classmethod
    def for_classes(cls) -> MDM:
        """Make the settings for the classes of a classifier.

        A class gains by hiding what speaks against it, so the consistency is signed, every size helps, and the order of
        the pixels is learned.
        """
        return cls(
            Keep(sizes=(7, 14, 28), size_weights=(1.0, 4.0), steps=24, settle=0.375, consistency="signed"),
            Destroy(steps=0),
            Order(sizes=(7, 14, 28), steps=14, rate=0.03, damping=1.0, values="mask", contrast=1.5, area_weight=1.5),
            Views(noise=0.25, shift=1 / 14),
            ALTERNATING,
        )

    @classmethod
    def for_prototypes(cls) -> MDM:
        """Make the settings for prototypes and every score that is best on the whole image: one compact mask."""
        return cls(
            Keep(sizes=(28,), size_weights=(1.0, 1.0), steps=14, settle=1.0, consistency="one-sided"),
            Destroy(steps=10),
            Order(
                sizes=(28, 112, 224), steps=0, rate=0.1, damping=0.0, values="sufficient", contrast=1.0, area_weight=1.5
            ),
            Views(noise=0.0, shift=0.0),
            "zero",
        )

    def for_model(self, explained: Explainable) -> MDM:
        """Fill in every setting, as it is used for this model."""
        return self.completed(self.for_classes() if isinstance(explained, Classifier) else self.for_prototypes())

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        settings = self.for_model(explained)
        given = settings.runtime
        with ready_to_learn(explained, images, index, given.batch_size, given.precision) as (quick, wide, batch_size):
            runtime = replace(given, batch_size=batch_size)
            stages = Stages(quick, require_value(settings.background), runtime, settings.views, progress, "mdm")
            return settings._learn(stages, wide, index)

    def _learn(self, stages: Stages, images: Tensor, index: Tensor) -> Tensor:
        mask = stages.keep(images, index, self.keep, warn=True)
        if self.destroy.steps:
            mask = mask + stages.destroy(images, index, self.destroy)
        rough = min_max(mask)
        if not self.order.steps:
            return rough
        # Where both masks agree, pixels come first.
        ordered = stages.order(images, index, rough.to(images), self.order) * (0.5 + rough)
        return stages.show(images, index, ordered, rough, self.order)
