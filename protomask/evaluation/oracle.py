"""The map that the truth draws: an upper bound for localizers, on scenes that can be rendered without a part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.data.removable import HasRemovableParts
from protomask.errors import InputError
from protomask.evaluation.batch import Batch
from protomask.metrics.faithfulness import minmax


@dataclass(frozen=True)
class Oracle:
    """Spread each visible part's true importance evenly over the part's visible pixels.

    The importance is the drop of the similarity without the part.

    A part's share of the map is its share of the importances, so that causal agreement is perfect; within a part
    nothing is known. Where the similarity rises without some part, all importances are raised until the least is zero:
    the order stays. The map is zero where all parts are equal.
    """

    def __call__(self, explained, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        raise InputError(
            "the oracle reads the truth of the data, which only an evaluation on the data set 'parts' can give it"
        )

    def from_truth(self, batch: Batch) -> Tensor:
        """Draw the maps (B, H, W) in [0, 1].

        Raises:
            InputError: the data cannot be rendered without a part.
        """
        if not isinstance(batch.data, HasRemovableParts):
            raise InputError(
                "localizer 'oracle' needs data with parts that can be removed (data=parts); leave it out here"
            )
        least = torch.where(batch.visible, batch.importance, torch.inf).amin(1, keepdim=True).clamp(max=0)
        importance = torch.where(batch.visible, batch.importance - least, 0.0)
        density = importance / batch.parts.flatten(2).sum(2).clamp(min=1)
        return minmax(torch.einsum("bk,bkhw->bhw", density, batch.parts.to(density.dtype)))
