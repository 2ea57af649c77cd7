"""Scores while a metric asks for them: of a model at rest, one for each image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor

from protomask.errors import InputError, type_named
from protomask.freezing import evaluating, frozen
from protomask.metrics.asked import asked_modules
from protomask.scores import require_scores

Score = Callable[[Tensor, Tensor], Tensor]
"""``score(images (N, 3, H, W), index (N,)) -> (N,)``"""


@contextmanager
def scoring(score: Score, *, differentiated: bool = False) -> Iterator[Score]:
    """Give ``score`` as a metric asks it, while its model is at rest (:func:`at_rest`).

    No images have no scores: a model is not asked for them, which may refuse them. Scores (N, 1) are one per image.

    Raises:
        InputError: while it is asked: not one score per image, or none with a gradient where one is needed.
    """

    def ask(images: Tensor, index: Tensor) -> Tensor:
        if not len(images):
            return images.flatten(1).sum(1)
        scores = score(images, index)
        if isinstance(scores, Tensor) and scores.shape == (len(images), 1):
            scores = scores[:, 0]  # of a model with one output
        require_scores(scores, index, name_of(score))
        if images.requires_grad and not scores.requires_grad:
            raise InputError(f"{name_of(score)} has no gradient with respect to the images, and this metric needs one")
        return scores

    with at_rest(score, differentiated=differentiated):
        yield ask


def at_rest(asked: Callable, *, differentiated: bool = False) -> AbstractContextManager[None]:
    """Put the modules that ``asked`` asks (:func:`asked_modules`) in evaluation mode for the while.

    Args:
        differentiated: whether gradients flow through the modules, whose parameters then need none.
    """
    roots = asked_modules(asked)
    if differentiated:
        return frozen(roots)
    return evaluating([module for root in roots for module in root.modules()])


def require_similarity_maps(maps: Tensor, index: Tensor, name: str) -> Tensor:
    """Return ``maps`` (N, h, w), or (N, 1, h, w) without their 1; InputError where they are not one per number of
    ``index`` (N,)."""
    if isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    if not isinstance(maps, Tensor) or maps.ndim != 3 or len(maps) != len(index):
        given = f"the shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else type_named(maps)
        raise InputError(
            f"{name} gave {given} for {len(index)} images; it must give one map per image, ({len(index)}, h, w)"
        )
    return maps


def name_of(asked: Callable) -> str:
    """Name what is called: ``Classifier.score``, a function by its own name."""
    owner = getattr(asked, "__self__", None)
    name = getattr(asked, "__name__", None)
    if name is None:
        return type(asked).__name__
    return name if owner is None or inspect.ismodule(owner) else f"{type(owner).__name__}.{name}"
