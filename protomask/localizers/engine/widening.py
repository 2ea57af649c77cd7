"""Masks of half images are learned in float32; the model gets the views as it takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.capabilities import score_kind
from protomask.explainable import Classifier, Explainable
from protomask.precision import as_float

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Narrowed:
    """Score float32 images as a model that takes halves; the scores are float32."""

    explained: Explainable
    dtype: torch.dtype
    """of the images that the model takes"""

    @property
    def kind(self) -> str | None:
        """Of the scores, where the model says so."""
        return score_kind(self.explained)

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        return as_float(self.explained.score(images.to(self.dtype), index))


def widened(explained: Explainable, images: Tensor) -> tuple[Explainable, Tensor]:
    """Give half images in float32, with what scores such images; all else as it is.

    A mask that is learned in halves stays where it starts: Adam's epsilon is 0 there, and its 0.999 is 1.

    >>> widened(Classifier(torch.nn.Linear(1, 2)), torch.zeros(1, 3, 4, 4).half())[1].dtype
    torch.float32
    """
    if images.dtype not in HALF:
        return explained, images
    # A Classifier casts by itself, to whatever its model has.
    return explained if isinstance(explained, Classifier) else Narrowed(explained, images.dtype), images.float()
