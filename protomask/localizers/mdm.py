"""MDM, Multiple Dynamic Masks (Peng, Yang, Liu, He, arXiv 2207.08046)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable
from protomask.localizers.base import check_pairs, min_max
from protomask.localizers.engine.learning import learn_masks
from protomask.localizers.engine.objective import ALTERNATING, CONSISTENCY, OBJECTIVE_BACKGROUNDS
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.engine.order import AREAS, Order, check_cuts, sufficient
from protomask.localizers.engine.speed.folding import PRECISIONS, faster
from protomask.localizers.engine.stack import Stack

FOR_CLASSES = {
    "sizes": (7, 14, 28),
    "size_weights": (1.0, 4.0),
    "keep_steps": 24,
    "settle": 0.375,
    "consistency": "signed",
    "background": ALTERNATING,
    "order_steps": 14,
    "destroy_steps": 0,
    "destroy_share": 0.05,
}
FOR_OTHERS = {
    "sizes": (28,),
    "size_weights": (1.0, 1.0),
    "keep_steps": 14,
    "settle": 1.0,
    "consistency": "one-sided",
    "background": "zero",
    "order_steps": 0,
    "destroy_steps": 10,
    "destroy_share": 0.05,
}
"""What None stands for. A class gains by hiding what speaks against it, so the fall is signed, every size helps, and
the order of pixels is learned; the similarity of a prototype is at its best on the whole image, and a compact mask
orders its pixels best."""


@dataclass(frozen=True)
class MDM:
    """Mask vectors of several sizes, learned to keep the score with little of the image, stacked into one map.

    Known: mask vectors of different sizes, trained by constraining their values and keeping the activation consistent;
    masks of different scales stacked; nothing of the network's inside is used; all-ones start. Reconstruction, for the
    stack M = mean of the bilinear upsamplings of v_n in [0, 1], n in ``sizes``, the background r and the score's range
    R = s(x) - s(r):

    - *keeping*: minimise  (s(x) - s(x M + r (1 - M))) / R  +  lambda mean(v);
    - lambda grows geometrically from the first to the last of ``size_weights``, and the mask is the mean over the later
      steps: what outlives a high price counts more;
    - r is the mean colour and the blurred image in turn, so that the mask owes nothing to either;
    - *destroying*, on each of ``destroy_sizes`` alone: minimise  max(0, s(x (1 - M) + r M) - s(r)) / R  +
      destroy_weight mean(v), r the mean colour; the mean of these masks is added with the small weight
      ``destroy_share``. The keeping mask is zero over most of the image; these order the rest by what else the score
      could rest on;
    - *ordering*, ours: further vectors, of ``order_sizes``, start as the mask found so far and learn which pixels come
      first at every area (:class:`protomask.localizers.engine.order.Order`): A. Pixels come in the order of A (M + 1/2), both
      scaled to [0, 1], and as many of them are shown as the score needs
      (:func:`protomask.localizers.engine.order.sufficient`);
    - saliency = min-max of what the last of these stages gives.

    Fields that are None are chosen by what is explained: ``FOR_CLASSES`` for a :class:`protomask.Classifier`,
    ``FOR_OTHERS`` for prototypes and everything else; each was the best on training images of its kind.

    >>> from protomask import Classifier                                        # doctest: +SKIP
    >>> saliency = MDM()(Classifier(model), images, classes)                    # doctest: +SKIP

    Args:
        sizes: cells along the image's shorter side.
        size_weights: lambda at the first and at the last step, the price of showing everything.
        keep_steps, keep_rate: Adam's steps and learning rate.
        together: learn the stack as one mask; False: each vector alone, the masks averaged afterwards (and len(sizes)
            times the cost).
        settle: share of the steps before the mean begins; 1 takes the last mask alone.
        consistency: ``"signed"`` as above, ``"one-sided"`` (only a fall of the score counts), ``"absolute"``,
            ``"squared"``.
        background: ``"zero"`` (the mean colour), ``"blur"``, ``"noise"``, or ``"alternating"`` between zero and blur.
        destroy_sizes, destroy_weight, destroy_steps, destroy_rate: the same for destroying; 0 steps leave it out.
        destroy_share: weight of the destroying mask in the map.
        order_sizes, order_steps, order_rate: the same for ordering; 0 steps leave it out.
        damping: of ordering's Adam (:class:`protomask.localizers.engine.optimisers.Adam`). More of it, up to 1 or so, gives
            maps that change less with what cannot be seen and lie better on the object, but whose pixels bring the
            score back later.
        areas, softness: where, and how softly, ordering cuts its mask.
        area_weight: price of a larger share of the image when it is chosen how much is shown.
        seed: of the noise.
        batch_size: pairs learned together, see :func:`protomask.localizers.engine.learning.learn_masks`; does not change the
            result.
        precision: ``"fp32"``, or ``"bf16"`` autocast of the model.

    Cost: keep_steps + len(destroy_sizes) * destroy_steps + 2 order_steps forward-backward passes per pair: 52 for
    classes (and 12 forward), 44 for prototypes.
    """

    sizes: tuple[int, ...] | None = None
    size_weights: tuple[float, float] | None = None
    keep_steps: int | None = None
    keep_rate: float = 0.1
    together: bool = True
    settle: float | None = None
    consistency: str | None = None
    background: str | None = None
    destroy_sizes: tuple[int, ...] = (7, 14, 28)
    destroy_weight: float = 1.0
    destroy_steps: int | None = None
    destroy_rate: float = 0.15
    destroy_share: float | None = None
    order_sizes: tuple[int, ...] = (28, 112, 224)
    order_steps: int | None = None
    order_rate: float = 0.1
    damping: float = 0.0
    areas: tuple[float, ...] = AREAS
    softness: float = 0.05
    area_weight: float = 1.5
    seed: int = 0
    batch_size: int | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        whole = self.completed(FOR_CLASSES)
        for name in ("sizes", "destroy_sizes", "order_sizes"):
            if min(getattr(whole, name), default=0) < 1:
                raise InputError(f"MDM: {name} are {getattr(whole, name)}; give at least one, each at least 1")
        if len(whole.size_weights) != 2 or not min(*whole.size_weights, whole.destroy_weight) > 0:
            raise InputError(
                f"MDM: size_weights are {whole.size_weights} and destroy_weight {whole.destroy_weight}; give the first and "
                "the last of the former, and all positive"
            )
        for name, value, known in (
            ("consistency", whole.consistency, CONSISTENCY),
            ("precision", whole.precision, PRECISIONS),
            ("background", whole.background, OBJECTIVE_BACKGROUNDS),
        ):
            if value not in known:
                raise InputError(f"MDM: {name} {value!r} is unknown; choose one of {', '.join(known)}")
        if whole.keep_steps < 1 or min(whole.destroy_steps, whole.order_steps) < 0 or not 0 <= whole.settle <= 1:
            raise InputError(
                f"MDM: keep_steps={whole.keep_steps}, destroy_steps={whole.destroy_steps}, order_steps={whole.order_steps}, "
                f"settle={whole.settle}; give at least 1, 0 and 0, and 0 to 1"
            )
        check_cuts("MDM", self.areas, self.softness, self.area_weight, self.damping)

    def completed(self, choice: dict) -> MDM:
        """With ``choice`` in the place of None."""
        missing = {name: value for name, value in choice.items() if getattr(self, name) is None}
        return replace(self, **missing) if missing else self

    def for_model(self, explained: Explainable) -> MDM:
        """The same with every setting that is None filled in, as it is used for this model."""
        return self.completed(FOR_CLASSES if isinstance(explained, Classifier) else FOR_OTHERS)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        check_pairs(images, index)
        return self.for_model(explained)._learned(
            faster(explained, images, index, self.precision), images, index, progress
        )

    def _learned(self, explained: Explainable, images: Tensor, index: Tensor, progress: bool) -> Tensor:
        def learn(sizes: tuple[int, ...], destroy: bool = False) -> Tensor:
            if destroy:
                steps, rate = self.destroy_steps, self.destroy_rate
                weights, settle, consistency = (self.destroy_weight,) * 2, 1.0, "one-sided"
                hidden = "zero" if self.background == ALTERNATING else self.background
            else:
                steps, rate = self.keep_steps, self.keep_rate
                weights, settle, consistency, hidden = self.size_weights, self.settle, self.consistency, self.background
            stack = Stack(explained, sizes, weights, steps, settle, consistency, hidden, self.seed, destroy)
            return learn_masks(
                explained,
                images,
                index,
                stack,
                steps=steps,
                optimiser=Adam(rate),
                batch_size=self.batch_size,
                progress=progress,
                description=f"mdm {'destroy' if destroy else 'keep'} {'+'.join(map(str, sizes))}",
            ).result

        groups = [self.sizes] if self.together else [(size,) for size in self.sizes]
        total = sum(learn(group) for group in groups) / len(groups)
        if self.destroy_steps:
            total = total + self.destroy_share * sum(learn((size,), True) for size in self.destroy_sizes) / len(
                self.destroy_sizes
            )
        rough = min_max(total)
        if not self.order_steps:
            return rough
        order = Order(
            explained,
            rough.to(images),
            self.order_sizes,
            self.order_steps,
            self.areas,
            self.softness,
            background=self.background,
            seed=self.seed,
        )
        order = learn_masks(
            explained,
            images,
            index,
            order,
            steps=self.order_steps,
            optimiser=Adam(self.order_rate, damping=self.damping),
            batch_size=self.batch_size,
            progress=progress,
            description="mdm order",
        ).result
        # Where both masks agree, pixels come first.
        return sufficient(explained, images, index, min_max(order) * (0.5 + rough), self.area_weight, self.batch_size)
