"""MDM and HDM with nothing but what is known of their papers and the least that makes them run; for comparison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers.base import min_max
from protomask.localizers.engine.optimisers import Adam
from protomask.localizers.engine.stack import GuidedProblem
from protomask.localizers.hdm import HDM
from protomask.localizers.mdm import MDM
from protomask.localizers.settings import Cascade, Destroy, Fusion, Keep, Order, Runtime, Views, require_value
from protomask.localizers.stages import Stages

_PLAIN = Keep(size_weights=(1.0, 1.0), steps=40, settle=1.0, consistency="absolute")


def published_mdm() -> MDM:
    """Make MDM as published (arXiv 2207.08046), as far as that is known.

    Known: mask vectors of different sizes, all ones at the start, each trained by itself to keep the activation
    consistent, |s(x) - s(x M)|, at a small mean of the vector; the masks of all sizes stacked. Reconstruction: the
    sizes 7, 14 and 28, the score's range as the unit of the consistency, lambda 1, 40 steps of Adam at 0.1, the mean
    colour where the mask hides, the stack as the mean. Not there: what this project adds (a rising price, averaged
    steps, two backgrounds, varied views, the order of the pixels).

    Cost: 120 forward-backward passes per pair.
    """
    return MDM(
        replace(_PLAIN, sizes=(7, 14, 28), joint=False),
        Destroy(steps=0),
        Order(sizes=(28,), steps=0, rate=0.1, damping=0.0, values="mask", contrast=1.0, area_weight=0.0),
        Views(noise=0.0, shift=0.0),
        "zero",
    )


@dataclass(frozen=True, repr=False)
class PublishedHDM(HDM):
    """Learn HDM as published (arXiv 2301.04970), as far as that is known.

    Known: a module's small *benchmark* vectors find the critical regions roughly and guide large *auxiliary* vectors,
    so that the superimposed mask is fine-grained; each next module works on the image without the regions found so far;
    all are fused in a learning-based way. Reconstruction: the superimposed mask is S = (B + A) / 2, B the mean of the
    benchmark masks as they were found, A the mean of the auxiliary ones, which start as B and minimise
    |s(x) - s(x S)| / R + lambda mean(A); sizes, lambda 1, 40 steps of Adam at 0.1 for each, the mean colour where a
    mask hides; two modules, the fusion of :class:`protomask.localizers.HDM`. Not there: what this project adds.

    Args:
        auxiliary: how the auxiliary vectors are learned.
        keep, cascade, fusion, runtime: as of :class:`protomask.localizers.HDM`.
        order, views, background: not to be changed.

    Cost: at most 2 * (40 + 40) + 10 forward-backward passes per pair.
    """

    keep: Keep = replace(_PLAIN, sizes=(7, 14))
    order: Order = field(
        default=Order(sizes=(28,), steps=1, rate=0.1, damping=0.0, values="mask", contrast=1.0, area_weight=0.0)
    )
    cascade: Cascade = Cascade(rest=0.1, in_probability=False, benchmarks=1)
    fusion: Fusion = Fusion(steps=10, rate=0.1, complete=False)
    views: Views = Views(noise=0.0, shift=0.0)
    background: str | None = "zero"
    runtime: Runtime = Runtime()
    auxiliary: Keep = replace(_PLAIN, sizes=(28, 56))

    def for_model(self, explained: Explainable) -> PublishedHDM:
        """Fill in every setting, the same whatever is explained."""
        return self.completed(PublishedHDM())

    def _learn_module(self, stages: Stages, images: Tensor, index: Tensor, warn: bool) -> Tensor:
        benchmark = stages.keep(images, index, self.keep, warn=warn).to(images)
        auxiliary, steps = self.auxiliary, require_value(self.auxiliary.steps)
        problem = GuidedProblem(
            stages.explained,
            require_value(auxiliary.sizes),
            require_value(auxiliary.size_weights),
            steps,
            require_value(auxiliary.settle),
            require_value(auxiliary.consistency),
            stages.background,
            stages.runtime.seed,
            guide=benchmark,
        )
        mask = stages.learn(images, index, problem, steps, Adam(auxiliary.rate), "auxiliary")
        return min_max(mask).to(images)
