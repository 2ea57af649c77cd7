"""The stages that MDM and HDM are made of: masks that keep the score, masks that destroy it, the order of the
pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from protomask.explainable import Classifier, Explainable
from protomask.localizers.base import fitting_batch_size, min_max
from protomask.localizers.engine.learning import MaskProblem, learn_masks
from protomask.localizers.engine.objective import ALTERNATING
from protomask.localizers.engine.optimisers import Adam, Optimiser
from protomask.localizers.engine.order import OrderProblem, sufficient_mask, with_values_of
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.engine.speed.threads import IMAGES, one_thread_each
from protomask.localizers.engine.stack import StackProblem
from protomask.localizers.engine.variation import Variation
from protomask.localizers.engine.widening import widened
from protomask.localizers.settings import Destroy, Keep, Order, Runtime, Views, require_value

TOGETHER = 8
"""pairs of a group, at most: with more there are too few groups for the threads"""
ALONE = 128 * 128
"""pixels of an image from which on each pair is a group by itself: smaller ones would cost twice as much so"""


@contextmanager
def one_thread_a_group(
    batch_size: int | None, explained: Explainable, images: Tensor, *, alone: bool = False, room: int = 1
) -> Iterator[int]:
    """Take the pairs in groups on a processor, each on one thread, unless a batch size was given.

    Its library shares sums among threads and chooses kernels by the size of a batch, and rounds differently each time.
    So a map is the same, to the last bit, on any number of threads. Where there are several, as many groups are learned
    at once. A class makes a group by itself, and so does any pair whose image has 128 x 128 pixels: its map is the same
    whatever else is asked for in the same call. Other scores of smaller images, whose maps rounding moves less, go
    together, up to 8, which costs less.

    Args:
        alone: every pair makes a group by itself: the maps amplify rounding.
        room: how many images' room a pair takes; of more than one no more groups go at once than fit.

    Yields:
        The batch size to be used meanwhile.
    """
    fit = max(fitting_batch_size(None, images) // room, 1)
    if batch_size is not None or images.device.type != "cpu":
        yield batch_size or fit
        return
    height, width = images.shape[-2:]
    alone = alone or isinstance(explained, Classifier) or height * width >= ALONE
    size = 1 if alone else min(TOGETHER, fit)
    with one_thread_each(size if room == 1 else max(size, IMAGES // fit)):
        yield size


@contextmanager
def ready_to_learn(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    batch_size: int | None,
    precision: str,
    *,
    alone: bool = False,
    room: int = 1,
) -> Iterator[tuple[Explainable, Tensor, int]]:
    """Take what is explained as masks are learned on it: in groups (:func:`one_thread_a_group`), not in halves, and as
    fast as it can be.

    Args:
        batch_size, precision: see :class:`protomask.localizers.settings.Runtime`.
        alone, room: see :func:`one_thread_a_group`.

    Yields:
        What gives the same scores sooner, the images as it takes them, and the batch size to be used meanwhile.
    """
    with one_thread_a_group(batch_size, explained, images, alone=alone, room=room) as group:
        wide, images = widened(explained, images)
        yield accelerate(wide, images, index, precision), images, group


@dataclass(frozen=True)
class Stages:
    """Run the stages on one model and one background; every setting must be there (not None)."""

    explained: Explainable
    background: str
    runtime: Runtime
    views: Views
    progress: bool = False
    name: str = "masks"
    """of the localizer, for progress bars"""

    def learn(
        self, images: Tensor, index: Tensor, problem: MaskProblem, steps: int, optimiser: Optimiser, stage: str
    ) -> Tensor:
        """Learn ``problem`` (:func:`protomask.localizers.engine.learning.learn_masks`) and give its result."""
        return learn_masks(
            self.explained,
            images,
            index,
            problem,
            steps=steps,
            optimiser=optimiser,
            batch_size=self.runtime.batch_size,
            variation=Variation(require_value(self.views.noise), require_value(self.views.shift), self.runtime.seed),
            progress=self.progress,
            description=f"{self.name} {stage}",
        ).result

    def keep(
        self, images: Tensor, index: Tensor, keep: Keep, *, warn: bool = False, start: Tensor | None = None
    ) -> Tensor:
        """Learn masks (B, H, W) that keep the score with little of the image; from ``start`` (B, H, W) where given."""
        all_sizes, steps = require_value(keep.sizes), require_value(keep.steps)
        groups = [all_sizes] if keep.joint else [(size,) for size in all_sizes]
        masks = []
        for sizes in groups:
            problem = StackProblem(
                self.explained,
                sizes,
                require_value(keep.size_weights),
                steps,
                require_value(keep.settle),
                require_value(keep.consistency),
                self.background,
                self.runtime.seed,
                warn=warn and sizes == groups[0],
                rough=start,
            )
            stage = f"keep {'+'.join(map(str, sizes))}"
            masks.append(self.learn(images, index, problem, steps, Adam(keep.rate), stage))
        return reduce(torch.add, masks) / len(masks)

    def destroy(self, images: Tensor, index: Tensor, destroy: Destroy) -> Tensor:
        """Learn masks that destroy the score by hiding it: their mean (B, H, W), times their share of the map.

        What they hide has the mean colour where backgrounds alternate.
        """
        background = "zero" if self.background == ALTERNATING else self.background
        masks, steps = [], require_value(destroy.steps)
        for size in destroy.sizes:
            problem = StackProblem(
                self.explained,
                (size,),
                (destroy.size_weight,) * 2,
                steps,
                1.0,
                "one-sided",
                background,
                self.runtime.seed,
                destroy=True,
            )
            masks.append(self.learn(images, index, problem, steps, Adam(destroy.rate), f"destroy {size}"))
        return destroy.share * reduce(torch.add, masks) / len(masks)

    def order(self, images: Tensor, index: Tensor, rough: Tensor, order: Order) -> Tensor:
        """Learn the order of the pixels from the masks ``rough`` (B, H, W): (B, H, W) in [0, 1]."""
        steps = require_value(order.steps)
        problem = OrderProblem(
            self.explained,
            rough,
            require_value(order.sizes),
            steps,
            order.areas,
            order.softness,
            background=self.background,
            seed=self.runtime.seed,
        )
        optimiser = Adam(require_value(order.rate), damping=require_value(order.damping))
        return min_max(self.learn(images, index, problem, steps, optimiser, "order"))

    def show(self, images: Tensor, index: Tensor, saliency: Tensor, mask: Tensor, order: Order) -> Tensor:
        """Give the pixels, in the order of ``saliency`` (B, H, W), the values that ``order.values`` asks for.

        Those of ``mask`` (B, H, W), the greatest first; or as many of them shown as the score needs.
        """
        if order.values == "mask":
            return with_values_of(saliency, mask, require_value(order.contrast))
        weight, batch_size = require_value(order.area_weight), self.runtime.batch_size
        return sufficient_mask(self.explained, images, index, saliency, weight, batch_size)
