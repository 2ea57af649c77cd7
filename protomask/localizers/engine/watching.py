"""Watch masks while they are learned, from outside of the localizer that learns them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from protomask.meanwhile import meanwhile

if TYPE_CHECKING:
    from protomask.localizers.engine.learning import MaskProblem, MaskState


class Glimpse(NamedTuple):
    """Hold where the loop is after a step."""

    stage: str
    """what is learned, as a progress bar says it"""
    step: int
    """steps that the foremost pair has made"""
    steps: int
    """that each pair makes at most"""
    position: Tensor
    """(B,) long, the pairs' places in the call"""
    masks: Callable[[], Tensor]
    """computes the masks so far, (B, H, W) in [0, 1]"""


Watcher = Callable[[Glimpse], None]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def watching(watcher: Watcher) -> AbstractContextManager[None]:
    """Call ``watcher`` after every step of every mask that this thread learns meanwhile.

    It changes nothing; what it raises ends the learning. Localizers that learn no masks say nothing.
    """
    return meanwhile(_WATCHER, watcher)


def is_watched() -> bool:
    """Tell whether anybody watches this thread."""
    return _WATCHER.get() is not None


def tell_watcher(stage: str, problem: MaskProblem, state: MaskState, steps: int) -> None:
    """Tell whoever watches, if anybody does, that a step was made."""
    watcher = _WATCHER.get()
    if watcher is None:
        return

    def masks() -> Tensor:
        with torch.no_grad():
            return problem.mask(state)[:, 0].detach()

    watcher(Glimpse(stage, int(state.step.max()), steps, state.position, masks))
