"""Do the values of a map predict what hiding costs? Infidelity (Yeh et al., NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protomask.metrics.given import as_images, as_maps, unless_broken
from protomask.metrics.scoring import Score, scoring
from protomask.places import as_index

SQUARES, SHORTEST, LONGEST = 32, 1 / 14, 1 / 4
"""how many squares are hidden, one at a time, and their sides as shares of the image's shorter one"""


@torch.no_grad()
def infidelity(
    score: Score,
    images: Tensor,
    index: Tensor,
    saliency: Tensor,
    *,
    squares: Sequence[tuple[int, int, int]] | None = None,
    batch_size: int = 16,
) -> Tensor:
    """Compute how badly a map predicts the fall of the score when squares are hidden: lower is better.

    min over b of E[(b I'F - (s(x) - s(x hidden)))^2] / E[(s(x) - s(x hidden))^2], where I'F is the map's sum in the
    square: 0 where falls are in proportion to sums, 1 where the map says nothing of them.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations" (NeurIPS 2019): their square removal
    with the optimal factor b, because maps have no unit. As captum's ``infidelity(normalize=True)``, divided by the
    mean square of the falls (ours), so that images compare. A square takes the mean colour.

    Args:
        saliency: (B, H, W).
        squares: (row, column, side) in pixels; by default :func:`draw_squares`, the same for all maps.

    Returns:
        (B,) in [0, 1]; NaN where no square changes the score.
    """
    index, saliency = as_index(index, as_images(images)), as_maps(saliency, images)
    squares = draw_squares(*images.shape[2:]) if squares is None else squares
    hidden = torch.zeros(len(squares), *images.shape[2:], dtype=torch.bool, device=images.device)
    for number, (row, column, side) in enumerate(squares):
        hidden[number, row : row + side, column : column + side] = True
    left = []
    with scoring(score) as ask:
        whole = ask(images, index).double()
        for part in torch.arange(len(images) * len(squares), device=images.device).split(batch_size):
            image, square = part // len(squares), part % len(squares)
            left.append(ask(images[image].masked_fill(hidden[square][:, None], 0.0), index[image]).double())
    falls = whole[:, None] - torch.cat(left).view(len(images), len(squares))
    sums = saliency.double().flatten(1) @ hidden.flatten(1).double().T
    both, own, size = (sums * falls).mean(1), sums.square().mean(1), falls.square().mean(1)
    explained = torch.where(own > 0, both.square() / own.clamp_min(1e-300), 0)
    return unless_broken(torch.where(size > 0, 1 - explained / size, torch.nan).clamp(0, 1).float(), saliency)


def draw_squares(height: int, width: int, count: int = SQUARES, seed: int = 0) -> list[tuple[int, int, int]]:
    """Draw squares (row, column, side) within an image, of sides and places drawn evenly."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    shorter, found = min(height, width), []
    for _ in range(count):
        side = draw(max(1, round(SHORTEST * shorter)), max(1, round(LONGEST * shorter)))
        found.append((draw(0, height - side), draw(0, width - side), side))
    return found
