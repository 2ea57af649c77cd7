"""RISE, randomized input sampling (Petsiuk, Das, Saenko, BMVC 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.localizers.base import check_pairs, fitting_batch_size, min_max, require_finite
from protomask.localizers.engine.masks import grid_shape
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.settings import Settings, within


@dataclass(frozen=True)
class RISE(Settings):
    """Average the scores of randomly masked images over the masks that show a pixel.

    sum_i s(x * M_i) M_i / sum_i M_i.

    Masks as published: a random binary grid, enlarged bilinearly to one cell more than the image and shifted by up to a
    cell.
    Ours: the division by the masks' own sum at each pixel, where the paper has its expectation N * p; the same in the
    mean, and without the noise that scores far from zero (log-probabilities) would otherwise bring. Published for
    softmax probabilities: ``Classifier(model, score="probability")``.

    Args:
        masks: N, each a forward pass; 4000 to 8000 in the paper.
        cells: of the grid along the image's shorter side.
        show: p, probability that a cell shows the image.
        seed: of the masks, which are the same for all pairs of a call.
        batch_size: masked images computed together, all that is held beside the maps; None: as fits
            (:func:`protomask.localizers.base.fitting_batch_size`).
    """

    masks: int = 2000
    cells: int = 7
    show: float = 0.5
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        self.require_steps(1, "masks", "cells", "batch_size")
        self.require(within(self.show, 0, 1, above=True) and self.show < 1, "show", "a probability between 0 and 1")
        self.require_seed()

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        index = check_pairs(images, index, explained)
        if not len(images):
            raise InputError("there are no images to explain; give at least one")
        count, height, width = len(images), *images.shape[-2:]
        index = index.long()
        explained = accelerate(explained, images, index)
        shown = torch.zeros(height * width, dtype=torch.float64, device=images.device)
        total = torch.zeros(count, height * width, dtype=torch.float64, device=images.device)
        with (
            torch.no_grad(),
            frozen(explained),
            tqdm(total=self.masks * count, desc="rise", unit="pass", disable=not progress) as bar,
        ):
            for masks in self._masks(images):
                flat = masks.flatten(1).double()
                shown += flat.sum(0)
                for place in range(count):
                    masked = (images[place] * masks[:, None].to(images)).contiguous(memory_format=torch.channels_last)
                    scores = explained.score(masked, index[place].expand(len(masks)))
                    require_finite(scores, explained, [place] * len(masks))
                    total[place] += scores.double() @ flat
                    bar.update(len(masks))
        # A pixel that no mask shows (few masks) has no mean; it gets the least.
        means = torch.where(shown > 0, total / shown.clamp_min(1e-12), torch.inf)
        means = torch.where(means.isinf(), means.amin(1, keepdim=True), means)
        return min_max(means.view(count, height, width))

    def _masks(self, images: Tensor):
        """Yield all masks, (batch_size, H, W) at a time; they depend on the seed and the images' size alone."""
        size, device = tuple(images.shape[-2:]), images.device
        rows, columns = grid_shape(self.cells, size)
        cell = -(-size[0] // rows), -(-size[1] // columns)
        generator = torch.Generator().manual_seed(self.seed)
        grids = (
            torch.rand(self.masks, 1, rows + 1, columns + 1, generator=generator, dtype=torch.float32) < self.show
        ).float()
        shifts = torch.stack([torch.randint(side, (self.masks,), generator=generator) for side in cell], 1).tolist()
        size_of_batch = fitting_batch_size(self.batch_size, images)
        for start in range(0, self.masks, size_of_batch):
            part = grids[start : start + size_of_batch].to(device)
            large = F.interpolate(
                part, ((rows + 1) * cell[0], (columns + 1) * cell[1]), mode="bilinear", align_corners=False
            )[:, 0]
            yield torch.stack(
                [
                    mask[down : down + size[0], right : right + size[1]]
                    for mask, (down, right) in zip(large, shifts[start : start + size_of_batch])
                ]
            )
