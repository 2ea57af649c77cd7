"""Small variations of what the network sees while a mask is learned, so that the mask does not depend on
the exact values of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Variation:
    """Shift and noise, another at every step and for every view, the same for all images; ours.

    A network's score has so much fine structure that a mask can live on it: noise that nobody sees then gives another
    mask, and another network does not confirm it. The mean over small variations is smooth. Both are drawn from the
    seed, the step and the view alone, neither from the image nor from its place in the batch: images that are nearly
    alike see the same ones, and an image alone sees what it sees in a batch.
    """

    noise: float = 0.0
    """standard deviation of the Gaussian noise, as a share of that of the image's values: the same for every
    normalisation"""
    shift: float = 0.0
    """greatest shift up, down, left or right, as a share of the image's shorter side; whole pixels, edges repeated"""
    seed: int = 0

    def __call__(self, views: Tensor, images: Tensor, steps: Tensor, number: int) -> Tensor:
        """Vary the view of that number, differentiably.

        Args:
            views: (B, 3, H, W), what the network is to see.
            images: (B, 3, H, W), of which these are views.
            steps: (B,) long, on the CPU: the step each pair is at.
        """
        if not self.noise and not self.shift:
            return views
        known = steps.unique().tolist()
        spread = images.flatten(1).std(1).view(-1, 1, 1, 1)
        if len(known) == 1:
            return self._varied(views, spread, known[0], number)
        varied = torch.empty_like(views)
        for step in known:
            rows = (steps == step).nonzero()[:, 0].to(views.device)
            varied = varied.index_copy(0, rows, self._varied(views[rows], spread[rows], step, number))
        return varied

    def _varied(self, views: Tensor, spread: Tensor, step: int, number: int) -> Tensor:
        # On the CPU, so that every device draws the same.
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + step * 64 + number) % 2**63)
        far = int(self.shift * min(views.shape[-2:]))
        down, right = torch.randint(-far, far + 1, (2,), generator=draw).tolist()
        views = shifted(views, down, right)
        if not self.noise:
            return views
        noise = torch.randn(views.shape[1:], generator=draw, dtype=torch.float32) * self.noise
        return views + spread * noise.to(views)


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Shift images (B, C, H, W) by whole pixels, their edges repeated.

    >>> shifted(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 0, 1)
    tensor([[[[1., 1., 2.]]]])
    """
    if down == right == 0:
        return images
    height, width = images.shape[-2:]
    sides = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    top, left = max(-down, 0), max(-right, 0)
    return F.pad(images, sides, mode="replicate")[..., top : top + height, left : left + width]
