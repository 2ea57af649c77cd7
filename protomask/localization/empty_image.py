"""Is there anything in a picture that holds a class's score up? Not where an empty image's is as high."""

from __future__ import annotations

import torch
from torch import Tensor

from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import fitting_batch_size, run_in_chunks


def nothing_to_keep(explained: Explainable, images: Tensor, index: Tensor) -> Tensor:
    """Tell (B,) bool where the score of an image (B, C, H, W) for class ``index`` (B,) is no higher than that of zeros,
    the empty image."""

    def work(part: slice) -> Tensor:
        given, whose = images[part], index[part]
        return explained.score(given, whose) <= explained.score(torch.zeros_like(given), whose)

    with torch.no_grad(), frozen(explained):
        found = run_in_chunks(len(images), fitting_batch_size(None, images), work)
    return torch.cat(found) if found else index.new_zeros(0, dtype=torch.bool)
