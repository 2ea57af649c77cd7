"""Is there anything in a picture that holds a class's score up? Not where an empty image's is as high."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.freezing import frozen


def nothing_to_keep(explained: Explainable, images: Tensor, index: Tensor) -> Tensor:
    """Tell (B,) bool where the score of an image (B, C, H, W) for class ``index`` (B,) is no higher than that of zeros,
    the empty image."""
    with torch.no_grad(), frozen(explained):
        return explained.score(images, index) <= explained.score(torch.zeros_like(images), index)
