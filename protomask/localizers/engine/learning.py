"""The one optimisation loop behind every learned mask, batched over (image, index) pairs.

A method declares a :class:`MaskProblem`: which parameters make a mask, how the mask perturbs the image, what is to be
small. :func:`learn_masks` does the rest for all of them. Pairs never interact: the loop minimises the sum of their
losses, and every tensor, the optimiser's state included, has the pair as its first dimension.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, fitting_batch_size, name_of_model, require_finite
from protomask.localizers.engine.optimisers import Adam, Optimiser
from protomask.localizers.engine.speed.graphs import scores_and_gradients
from protomask.localizers.engine.speed.heap import keep_freed_memory
from protomask.localizers.engine.speed.threads import groups_at_once, work_at_once
from protomask.localizers.engine.variation import Variation
from protomask.localizers.engine.watching import is_watched, tell_watcher
from protomask.localizers.engine.widening import HALF
from protomask.precision import as_float
from protomask.scores import require_scores

Tensors = dict[str, Tensor]


@dataclass
class MaskState:
    """Hold the B pairs that are optimised at the same time; the first dimension of every tensor is the pair."""

    images: Tensor
    """(B, 3, H, W), channels last"""
    index: Tensor
    """(B,) long"""
    score: Tensor
    """(B,) score of the whole image"""
    position: Tensor
    """(B,) long: each pair's place in the call, to look up what the method holds per pair"""
    step: Tensor
    """(B,) long: steps made so far; always on the CPU, so that no schedule ever waits for an accelerator"""
    learned: Tensors = field(default_factory=dict)
    """what the optimiser moves; the method fills it in ``begin``"""
    buffers: Tensors = field(default_factory=dict)
    """whatever else the method keeps per pair: backgrounds, masks of an earlier stage, running means"""
    moments: Tensors = field(default_factory=dict)
    """the loop's own: the optimiser's state and the least loss so far"""

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self.images.shape[-2:]
        return height, width

    def __len__(self) -> int:
        return len(self.index)

    def select(self, chosen: Tensor) -> MaskState:
        """Take the pairs where ``chosen`` (B,), on the CPU, is true."""
        return self._map(lambda tensor, _: tensor[chosen], self)

    def join(self, other: MaskState) -> MaskState:
        """Append the pairs of ``other``."""
        return self._map(lambda one, two: torch.cat([one, two]), other)

    def _map(self, function, other: MaskState) -> MaskState:
        changed: dict[str, Any] = {}
        for name, value in vars(self).items():
            beside = getattr(other, name)
            changed[name] = (
                {key: function(value[key], beside[key]) for key in value}
                if isinstance(value, dict)
                else function(value, beside)
            )
        return replace(self, **changed)


class MaskProblem(Protocol):
    """Declare a method of learning masks: B pairs, V perturbed views of each; no result may mix pairs."""

    def begin(self, state: MaskState) -> None:
        """Fill ``state.learned``, and ``state.buffers`` as needed, for pairs that enter the loop."""
        ...

    def mask(self, state: MaskState) -> Tensor:
        """Compute the masks (B, 1, H, W) in [0, 1], differentiable in ``state.learned``; 1 shows the image."""
        ...

    def views(self, state: MaskState, mask: Tensor) -> tuple[Tensor, ...]:
        """Perturb the images: V tensors (B, 3, H, W); each costs one forward-backward pass per pair and step."""
        ...

    def loss(self, state: MaskState, mask: Tensor, scores: Tensor) -> Tensor:
        """Compute the losses (B,) from the views' ``scores`` (V, B); ``state.step`` is there for schedules."""
        ...

    def after_step(self, state: MaskState) -> None:
        """Keep ``state.learned`` in bounds (in place), and update ``state.buffers``; called without gradient."""
        ...

    def result(self, state: MaskState) -> Tensor:
        """Compute what is wanted of pairs that leave the loop, (B, ...); called without gradient."""
        ...


class Learned(NamedTuple):
    """Hold what the loop found for N pairs, in the order of the call."""

    result: Tensor
    """(N, ...), the method's ``result``"""
    loss: Tensor
    """(N,) least loss of each pair"""
    steps: Tensor
    """(N,) long: steps made"""


def learn_masks(
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    problem: MaskProblem,
    *,
    steps: int,
    optimiser: Optimiser = Adam(),
    batch_size: int | None = None,
    tolerance: float | None = None,
    patience: int = 5,
    variation: Variation = Variation(),
    progress: bool = False,
    description: str = "masks",
) -> Learned:
    """Minimise ``problem.loss`` for every pair.

    Works under ``no_grad`` and ``inference_mode``, too. The model is in evaluation mode meanwhile and left as it was;
    no gradient reaches its parameters. Where a gradient is not finite, it counts as zero.

    Args:
        explained: gives the scores; only ``score`` is used.
        images: (N, 3, H, W), normalised, in float32 or float64; halves become so by
            :func:`protomask.localizers.engine.widening.widened`.
        index: (N,) integers.
        problem: the method.
        steps: at most this many for each pair.
        optimiser: how a gradient becomes a step.
        batch_size: pairs optimised together, and images in the network at once, at most; None: as fits
            (:func:`protomask.localizers.base.fitting_batch_size`). Halved, and halved again, while an accelerator has
            not enough memory. Does not change the result, but for rounding. Within
            :func:`protomask.localizers.engine.speed.threads.one_thread_each` several such groups at once.
        tolerance: a pair ends early once its least loss has not fallen by more than this for ``patience`` steps; its
            place goes to the next waiting pair. None: never.
        patience: see ``tolerance``.
        variation: how the views are varied before the network sees them.
        progress: a bar on standard error.
        description: of the bar.

    Raises:
        InputError: images, index or scores of the wrong shape, half images, a score that does not depend on the image
            differentiably, or a mask that is not finite.
    """
    index = check_pairs(images, index)
    if images.dtype in HALF:
        raise InputError(f"images are {images.dtype}, and no mask is learned in halves; give what widened() makes")
    batch_size = fitting_batch_size(batch_size, images)
    if steps < 1 or batch_size < 1:
        raise InputError(f"steps={steps} and batch_size={batch_size}; give at least 1 of each")
    loop = _Loop(images, index, problem, steps, optimiser, tolerance, patience, variation, description)
    with (
        _learning(explained, images.device),
        tqdm(total=len(index), desc=description, unit="map", disable=not progress) as bar,
    ):
        if groups_at_once() > 1 and not is_watched():
            found = loop.run_groups(explained, batch_size, bar.update)
        else:
            found = loop.run(explained, range(len(index)), batch_size, bar.update)
    if not found:
        raise InputError("there are no images to explain; give at least one")
    position, *rest = (torch.cat(column) for column in zip(*found))
    order = position.argsort()
    learned = Learned(*(column.to(images.device)[order] for column in rest))
    _require_finite_masks(learned.result, description)
    return learned


def _require_finite_masks(result: Tensor, description: str) -> None:
    """Raise InputError where a mask is broken: scaled to [0, 1] it would be a blank map."""
    broken = (~result.isfinite().reshape(len(result), -1).all(1)).nonzero().flatten()
    if len(broken):
        raise InputError(
            f"{description}: the mask that was learned for image {int(broken[0])} is not finite; "
            "give a lower learning rate, and images and a model in float32"
        )


Found = list[tuple[Tensor, Tensor, Tensor, Tensor]]
"""places in the call, results, least losses and steps of the pairs that have left the loop, in the order they left"""


@dataclass(frozen=True)
class _Loop:
    """Hold what :func:`learn_masks` was asked for."""

    images: Tensor
    index: Tensor
    problem: MaskProblem
    steps: int
    optimiser: Optimiser
    tolerance: float | None
    patience: int
    variation: Variation
    description: str

    def run_groups(self, explained: Explainable, size: int, done: Callable[[int], object]) -> Found:
        """Run groups of ``size`` pairs, several at once, a thread each."""
        places = range(len(self.index))
        groups = [places[start : start + size] for start in range(0, len(places), size)]
        entering = threading.Lock()  # the problem has a model of its own to begin with

        def work(own: Explainable, number: int, go_on: Callable[[], None]) -> Found:
            return self.run(own, groups[number], size, go_on=go_on, entering=entering)

        return sum(work_at_once(work, explained, len(groups), lambda number: done(len(groups[number]))), [])

    def run(
        self,
        explained: Explainable,
        positions: range,
        batch_size: int,
        done: Callable[[int], object] = lambda pairs: None,
        go_on: Callable[[], None] = lambda: None,
        entering: AbstractContextManager = nullcontext(),
    ) -> Found:
        """Run the pairs at ``positions``, ``batch_size`` of them together.

        Args:
            done: told how many pairs leave the loop.
            go_on: called before each step.
            entering: entered while a pair enters the loop.
        """
        found: Found = []
        entered = positions.start
        active: MaskState | None = None
        waiting: list[MaskState] = []
        while entered < positions.stop or active is not None or waiting:
            go_on()
            try:
                room = batch_size - (0 if active is None else len(active))
                if room > 0 and (waiting or entered < positions.stop):
                    if waiting:
                        new = waiting.pop()
                    else:
                        with entering:
                            new = self._enter(explained, range(entered, min(entered + room, positions.stop)))
                        entered += len(new)
                    active = new if active is None else active.join(new)
                assert active is not None  # the loop runs while there are pairs
                if len(active) > batch_size:
                    stays = torch.arange(len(active)) < batch_size
                    waiting.append(active.select(~stays))
                    active = active.select(stays)
                self._step(explained, active, batch_size)
            except torch.OutOfMemoryError:
                # Nothing has changed yet: a step changes its pairs only once their gradients are there.
                if batch_size == 1:
                    raise
                batch_size //= 2
                continue
            tell_watcher(self.description, self.problem, active, self.steps)
            ended = active.step >= self.steps
            if self.tolerance is not None:
                ended |= (active.moments["stale"] >= self.patience).cpu()
            if ended.any():
                with torch.no_grad():
                    over = active.select(ended)
                    found.append((over.position, self.problem.result(over).detach(), over.moments["least"], over.step))
                    active = None if ended.all() else active.select(~ended)
                done(len(over))
        return found

    def _enter(self, explained: Explainable, positions: range) -> MaskState:
        """Make the pairs at ``positions`` ready for their first step."""
        part = slice(positions.start, positions.stop)
        # A clone, because tensors made under inference mode cannot take part in a backward pass.
        chosen = self.images[part].detach().clone(memory_format=torch.channels_last)
        position = torch.arange(part.start, part.stop, device=chosen.device)
        with torch.no_grad():
            index = self.index[part].detach().clone().long()
            score = _check_scores(explained.score(chosen, index), explained, index).detach()
            require_finite(score, explained, positions)
            state = MaskState(chosen, index, score, position, torch.zeros(len(index), dtype=torch.long))
            self.problem.begin(state)
            state.moments = {
                f"{name}.{number}": moment
                for name, value in state.learned.items()
                for number, moment in enumerate(self.optimiser.begin(value))
            }
            state.moments["least"] = torch.full_like(score, torch.inf)
            state.moments["stale"] = torch.zeros_like(position)
        return state

    def _step(self, explained: Explainable, state: MaskState, batch_size: int) -> None:
        """Make one step of every pair, in place."""
        learned = {name: value.detach().requires_grad_() for name, value in state.learned.items()}
        state.learned = learned
        mask = self.problem.mask(state)
        views = self.problem.views(state, mask)
        varied = [self.variation(view, state.images, state.step, number) for number, view in enumerate(views)]
        scores = scores_of_views(explained, state.index, batch_size, *varied)
        loss = self.problem.loss(state, mask, scores)
        gradients = torch.autograd.grad(loss.sum(), list(learned.values()), materialize_grads=True)
        with torch.no_grad():
            state.learned = {name: value.detach() for name, value in learned.items()}
            for (name, value), gradient in zip(state.learned.items(), gradients):
                moments = tuple(moment for key, moment in state.moments.items() if key.rpartition(".")[0] == name)
                self.optimiser.step(value, gradient.nan_to_num(0.0, 0.0, 0.0), moments, state.step)
            state.step += 1
            self.problem.after_step(state)
            better = loss.detach() < state.moments["least"] - (self.tolerance or 0.0)
            state.moments["stale"] = torch.where(better, 0, state.moments["stale"] + 1)
            state.moments["least"] = torch.fmin(state.moments["least"], loss.detach())


@contextmanager
def _learning(explained: Explainable, device: torch.device) -> Iterator[None]:
    """Switch gradients on, whatever the caller's mode, and freeze the model."""
    with torch.inference_mode(False), torch.enable_grad(), frozen(explained), keep_freed_memory(device.type):
        yield


def scores_of_views(explained: Explainable, index: Tensor, at_once: int, *views: Tensor) -> Tensor:
    """Score V views (B, 3, H, W), at most ``at_once`` images at a time: (V, B), differentiable in the views.

    Raises:
        InputError: scores of a wrong shape, or that do not depend on the images differentiably.
    """
    return _ScoresOfViews.apply(explained, index, at_once, *views)


class _ScoresOfViews(torch.autograd.Function):
    """Score V views (B, 3, H, W), at most ``at_once`` images at a time: (V, B).

    The gradients are taken along with the scores, one part after the other: the network's features are gone before the
    next part comes, so that memory depends on ``at_once`` alone, and a processor finds them in its cache.
    """

    @staticmethod
    def forward(context, explained: Explainable, index: Tensor, at_once: int, *views: Tensor) -> Tensor:
        batches = views if len(views) * len(index) > at_once else (torch.cat(views),)
        scores, gradients = [], []
        for batch in batches:
            for images, of in zip(batch.split(at_once), index.repeat(len(batch) // len(index)).split(at_once)):
                score, gradient = scores_and_gradients(explained, images, of)
                scores.append(_check_scores(score, explained, of))
                if gradient is None:
                    raise InputError(
                        f"the score of {name_of_model(explained)} has no gradient with respect to the images; "
                        "learned masks need one"
                    )
                gradients.append(gradient)
        context.save_for_backward(torch.cat(gradients))
        return torch.cat(scores).view(len(views), len(index))

    @staticmethod
    def backward(context, weights: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = context.saved_tensors
        return None, None, None, *(weights.reshape(-1, 1, 1, 1) * gradients).split(weights.shape[1])


def _check_scores(scores: Tensor, explained: Explainable, index: Tensor) -> Tensor:
    return as_float(require_scores(scores, index, f"{name_of_model(explained)}.score"))
